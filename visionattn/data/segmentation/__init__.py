"""Semantic segmentation: images with a class for every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.data.segmentation.module import SegmentationData
    from visionattn.data.segmentation.sources import (
        ADE20K,
        Cityscapes,
        COCOStuff,
        ImageMask,
        LabelmeMasks,
        MaskSource,
        PascalContext,
        PascalVOC,
    )
    from visionattn.data.segmentation.transforms import SegmentationEvalTransform, SegmentationTrainTransform

__all__ = [
    "ADE20K",
    "COCOStuff",
    "Cityscapes",
    "ImageMask",
    "LabelmeMasks",
    "MaskSource",
    "PascalContext",
    "PascalVOC",
    "SegmentationData",
    "SegmentationEvalTransform",
    "SegmentationTrainTransform",
]

__getattr__ = face(
    __name__,
    {
        "ADE20K": "sources",
        "COCOStuff": "sources",
        "Cityscapes": "sources",
        "ImageMask": "sources",
        "LabelmeMasks": "sources",
        "MaskSource": "sources",
        "PascalContext": "sources",
        "PascalVOC": "sources",
        "SegmentationData": "module",
        "SegmentationEvalTransform": "transforms",
        "SegmentationTrainTransform": "transforms",
    },
)
