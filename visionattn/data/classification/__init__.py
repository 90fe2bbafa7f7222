"""Image classification: sources of labeled images, augmentation, and the data module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.data.classification.module import ClassificationData
    from visionattn.data.classification.sources.csv_labels import CsvLabels
    from visionattn.data.classification.sources.digits import Digits
    from visionattn.data.classification.sources.hugging_face import HuggingFace
    from visionattn.data.classification.sources.image_folder import ImageFolder
    from visionattn.data.classification.sources.imagenet import ImageNetC, ImageNetFolders, ImageNetReal
    from visionattn.data.classification.sources.web_dataset import WebDataset
    from visionattn.data.classification.transforms import EvalTransform, TrainTransform

__all__ = [
    "ClassificationData",
    "CsvLabels",
    "Digits",
    "EvalTransform",
    "HuggingFace",
    "ImageFolder",
    "ImageNetC",
    "ImageNetFolders",
    "ImageNetReal",
    "TrainTransform",
    "WebDataset",
]

__getattr__ = face(
    __name__,
    {
        "ClassificationData": "module",
        "CsvLabels": "sources.csv_labels",
        "Digits": "sources.digits",
        "EvalTransform": "transforms",
        "HuggingFace": "sources.hugging_face",
        "ImageFolder": "sources.image_folder",
        "ImageNetC": "sources.imagenet",
        "ImageNetFolders": "sources.imagenet",
        "ImageNetReal": "sources.imagenet",
        "TrainTransform": "transforms",
        "WebDataset": "sources.web_dataset",
    },
)
