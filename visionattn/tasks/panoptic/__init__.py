"""Panoptic segmentation: the task, its metrics, its observer."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.tasks.panoptic.metric import CocoInstancesEvaluator, PanopticQualityEvaluator
    from visionattn.tasks.panoptic.task import PanopticTask

__all__ = ["CocoInstancesEvaluator", "PanopticQualityEvaluator", "PanopticTask"]

__getattr__ = face(
    __name__,
    {
        "CocoInstancesEvaluator": "metric",
        "PanopticQualityEvaluator": "metric",
        "PanopticTask": "task",
    },
)
