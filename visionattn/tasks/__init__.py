"""Tasks: LightningModules that train a backbone with a head. One folder per task."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.classification.task import ClassificationTask
    from visionattn.tasks.detection.task import DetectionTask
    from visionattn.tasks.panoptic.task import PanopticTask
    from visionattn.tasks.segmentation.task import SegmentationTask

__all__ = ["ClassificationTask", "DetectionTask", "PanopticTask", "SegmentationTask"]

__getattr__ = face(
    __name__,
    {
        "ClassificationTask": "classification.task",
        "DetectionTask": "detection.task",
        "PanopticTask": "panoptic.task",
        "SegmentationTask": "segmentation.task",
    },
)
