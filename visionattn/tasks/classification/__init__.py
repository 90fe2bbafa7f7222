"""Image classification: the task, its metrics, its observer."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.classification.metric import ClassificationEvaluator
    from visionattn.tasks.classification.task import ClassificationTask

__all__ = ["ClassificationEvaluator", "ClassificationTask"]

__getattr__ = face(
    __name__,
    {
        "ClassificationEvaluator": "metric",
        "ClassificationTask": "task",
    },
)
