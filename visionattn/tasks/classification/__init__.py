"""Image classification: the task, its metric, what it shows."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.classification.task import ClassificationTask

__all__ = ["ClassificationTask"]

__getattr__ = face(
    __name__,
    {"ClassificationTask": "task"},
)
