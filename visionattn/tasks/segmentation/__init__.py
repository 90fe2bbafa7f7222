"""Semantic segmentation: the task, its metrics, its observer."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.segmentation.metric import BoundaryIoUEvaluator, SemanticEvaluator
    from visionattn.tasks.segmentation.task import SegmentationTask

__all__ = ["BoundaryIoUEvaluator", "SegmentationTask", "SemanticEvaluator"]

__getattr__ = face(
    __name__,
    {
        "BoundaryIoUEvaluator": "metric",
        "SegmentationTask": "task",
        "SemanticEvaluator": "metric",
    },
)
