"""Where images and their label maps lie: one file per published data set, and a plain pair of folders.

A new data set is a file here with a subclass of :class:`MaskSource`.
"""

from __future__ import annotations

from visionattn.data.segmentation.sources.ade20k import ADE20K
from visionattn.data.segmentation.sources.cityscapes import Cityscapes
from visionattn.data.segmentation.sources.coco_stuff import COCOStuff
from visionattn.data.segmentation.sources.image_mask import ImageMask
from visionattn.data.segmentation.sources.labelme import LabelmeMasks
from visionattn.data.segmentation.sources.masks import MaskRecords, MaskSource
from visionattn.data.segmentation.sources.pascal import PascalContext, PascalVOC

__all__ = [
    "ADE20K",
    "COCOStuff",
    "Cityscapes",
    "ImageMask",
    "LabelmeMasks",
    "MaskRecords",
    "MaskSource",
    "PascalContext",
    "PascalVOC",
]
