"""Tasks: LightningModules that train a backbone with a head, and their evaluators. One folder per task."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.classification.metric import ClassificationEvaluator
    from visionattn.tasks.classification.task import ClassificationTask
    from visionattn.tasks.detection.metric import CocoEvaluator
    from visionattn.tasks.detection.task import DetectionTask
    from visionattn.tasks.panoptic.metric import CocoInstancesEvaluator, PanopticQualityEvaluator
    from visionattn.tasks.panoptic.task import PanopticTask
    from visionattn.tasks.segmentation.metric import BoundaryIoUEvaluator, SemanticEvaluator
    from visionattn.tasks.segmentation.task import SegmentationTask

__all__ = [
    "BoundaryIoUEvaluator",
    "ClassificationEvaluator",
    "ClassificationTask",
    "CocoEvaluator",
    "CocoInstancesEvaluator",
    "DetectionTask",
    "PanopticQualityEvaluator",
    "PanopticTask",
    "SegmentationTask",
    "SemanticEvaluator",
]

__getattr__ = face(
    __name__,
    {
        "BoundaryIoUEvaluator": "segmentation.metric",
        "ClassificationEvaluator": "classification.metric",
        "ClassificationTask": "classification.task",
        "CocoEvaluator": "detection.metric",
        "CocoInstancesEvaluator": "panoptic.metric",
        "DetectionTask": "detection.task",
        "PanopticQualityEvaluator": "panoptic.metric",
        "PanopticTask": "panoptic.task",
        "SegmentationTask": "segmentation.task",
        "SemanticEvaluator": "segmentation.metric",
    },
)
