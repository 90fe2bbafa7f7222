"""Where pictures come from: the built-in digits, folders and tar files, ImageNet's test sets, Hugging Face data sets,
WebDataset shards.
"""

from visionattn.data.classification.sources.digits import Digits
from visionattn.data.classification.sources.hugging_face import HuggingFace
from visionattn.data.classification.sources.image_folder import ImageFolder
from visionattn.data.classification.sources.imagenet import ImageNetC, ImageNetFolders, ImageNetReal
from visionattn.data.classification.sources.web_dataset import WebDataset

__all__ = ["Digits", "HuggingFace", "ImageFolder", "ImageNetC", "ImageNetFolders", "ImageNetReal", "WebDataset"]
