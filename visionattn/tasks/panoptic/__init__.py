"""Panoptic segmentation: the task, its metric, what it shows."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.panoptic.task import PanopticTask

__all__ = ["PanopticTask"]

__getattr__ = face(
    __name__,
    {"PanopticTask": "task"},
)
