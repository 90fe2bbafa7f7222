"""Where pictures come from: the built-in digits, folders and tar files, ImageNet's test sets, Hugging Face data sets,
WebDataset shards.
"""

from visionattn.data.sources.digits import Digits
from visionattn.data.sources.hugging_face import HuggingFace
from visionattn.data.sources.image_folder import ImageFolder
from visionattn.data.sources.imagenet import ImageNetC, ImageNetFolders, ImageNetReal
from visionattn.data.sources.web_dataset import WebDataset

__all__ = ["Digits", "HuggingFace", "ImageFolder", "ImageNetC", "ImageNetFolders", "ImageNetReal", "WebDataset"]
