"""Detection and instance segmentation: COCO's layout, its checks, augmentation of images with their objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.data.detection.coco import Coco
    from visionattn.data.detection.formats.hugging_face import HuggingFaceDetection
    from visionattn.data.detection.formats.instance_masks import InstanceMasks
    from visionattn.data.detection.formats.labelme import Labelme
    from visionattn.data.detection.formats.lvis import Lvis
    from visionattn.data.detection.formats.open_images import OpenImages
    from visionattn.data.detection.formats.voc import PascalVOCDetection
    from visionattn.data.detection.formats.yolo import Yolo
    from visionattn.data.detection.module import DetectionData
    from visionattn.data.detection.sources import CocoRecords
    from visionattn.data.detection.transforms import DetectionEvalTransform, DetectionTrainTransform

__all__ = [
    "Coco",
    "CocoRecords",
    "DetectionData",
    "DetectionEvalTransform",
    "DetectionTrainTransform",
    "HuggingFaceDetection",
    "InstanceMasks",
    "Labelme",
    "Lvis",
    "OpenImages",
    "PascalVOCDetection",
    "Yolo",
]

__getattr__ = face(
    __name__,
    {
        "Coco": "coco",
        "CocoRecords": "sources",
        "DetectionData": "module",
        "DetectionEvalTransform": "transforms",
        "DetectionTrainTransform": "transforms",
        "HuggingFaceDetection": "formats.hugging_face",
        "InstanceMasks": "formats.instance_masks",
        "Labelme": "formats.labelme",
        "Lvis": "formats.lvis",
        "OpenImages": "formats.open_images",
        "PascalVOCDetection": "formats.voc",
        "Yolo": "formats.yolo",
    },
)
