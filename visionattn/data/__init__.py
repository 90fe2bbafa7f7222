"""Data: sources of labeled images, exact sampling, transforms, and a drawn data set in the field's real layouts.

One folder per task, each with ``module.py``, ``sources``, ``transforms.py`` and ``checks.py``. Importing this package
is cheap; a data module and what it needs (Lightning, timm, torchvision) load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.data.classes import ClassInfo
    from visionattn.data.classification.module import ClassificationData
    from visionattn.data.detection.module import DetectionData
    from visionattn.data.module import VisionData
    from visionattn.data.panoptic.module import PanopticData
    from visionattn.data.segmentation.module import SegmentationData
    from visionattn.data.unreadable import UnreadableBudget

__all__ = [
    "ClassInfo",
    "ClassificationData",
    "DetectionData",
    "PanopticData",
    "SegmentationData",
    "UnreadableBudget",
    "VisionData",
]

__getattr__ = face(
    __name__,
    {
        "ClassInfo": "classes",
        "ClassificationData": "classification.module",
        "DetectionData": "detection.module",
        "PanopticData": "panoptic.module",
        "SegmentationData": "segmentation.module",
        "UnreadableBudget": "unreadable",
        "VisionData": "module",
    },
)
