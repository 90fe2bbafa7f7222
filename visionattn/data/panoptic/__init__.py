"""Panoptic segmentation: COCO's panoptic layout, read and written; images whose pixels belong to segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.data.panoptic.module import PanopticData
    from visionattn.data.panoptic.sources import CocoPanoptic
    from visionattn.data.panoptic.transforms import PanopticTrainTransform

__all__ = ["CocoPanoptic", "PanopticData", "PanopticTrainTransform"]

__getattr__ = face(
    __name__,
    {"CocoPanoptic": "sources", "PanopticData": "module", "PanopticTrainTransform": "transforms"},
)
