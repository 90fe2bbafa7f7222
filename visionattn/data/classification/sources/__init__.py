"""Sources of labeled images: digits, tables, folders, tar files, ImageNet's test sets, Hugging Face, shards."""

from __future__ import annotations

from visionattn.data.classification.sources.csv_labels import CsvLabels
from visionattn.data.classification.sources.digits import Digits
from visionattn.data.classification.sources.hugging_face import HuggingFace
from visionattn.data.classification.sources.image_folder import ImageFolder
from visionattn.data.classification.sources.imagenet import ImageNetC, ImageNetFolders, ImageNetReal
from visionattn.data.classification.sources.web_dataset import WebDataset

__all__ = [
    "CsvLabels",
    "Digits",
    "HuggingFace",
    "ImageFolder",
    "ImageNetC",
    "ImageNetFolders",
    "ImageNetReal",
    "WebDataset",
]
