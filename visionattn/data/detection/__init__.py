"""Detection and instance segmentation: COCO's layout, its checks, augmentation of pictures with their objects."""

from visionattn.data.detection.coco import Coco, CocoRecords
from visionattn.data.detection.module import DetectionData
from visionattn.data.detection.transforms import DetectionEvalTransform, DetectionTrainTransform

__all__ = ["Coco", "CocoRecords", "DetectionData", "DetectionEvalTransform", "DetectionTrainTransform"]
