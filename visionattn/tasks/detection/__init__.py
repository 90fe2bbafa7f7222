"""Detection and instance segmentation: the task, its metrics, its observer."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.detection.metric import CocoEvaluator
    from visionattn.tasks.detection.task import DetectionTask

__all__ = ["CocoEvaluator", "DetectionTask"]

__getattr__ = face(
    __name__,
    {
        "CocoEvaluator": "metric",
        "DetectionTask": "task",
    },
)
