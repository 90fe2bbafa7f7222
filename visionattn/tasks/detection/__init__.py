"""Detection and instance segmentation: the task, its metric, what it shows."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.detection.task import DetectionTask

__all__ = ["DetectionTask"]

__getattr__ = face(
    __name__,
    {"DetectionTask": "task"},
)
