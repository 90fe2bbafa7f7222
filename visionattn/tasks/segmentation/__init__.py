"""Semantic segmentation: the task, its metric, what it shows."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.segmentation.task import SegmentationTask

__all__ = ["SegmentationTask"]

__getattr__ = face(
    __name__,
    {"SegmentationTask": "task"},
)
