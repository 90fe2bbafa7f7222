"""The training engine: the base of all tasks, checkpoints, schedules, averaging, and what many processes share."""

from typing import TYPE_CHECKING

from visionattn.lazy import face

if TYPE_CHECKING:
    from visionattn.training.best import BestCheckpoint
    from visionattn.training.checkpoints import LastCheckpoint
    from visionattn.training.ema import WeightEMA
    from visionattn.training.evaluator import Evaluator, MetricEvaluator
    from visionattn.training.fsdp import FullySharded
    from visionattn.training.loggers import MetricsFile
    from visionattn.training.schedule import constant, cosine, poly, steps
    from visionattn.training.step import StepOutput
    from visionattn.training.task import VisionTask

__all__ = [
    "BestCheckpoint",
    "Evaluator",
    "FullySharded",
    "LastCheckpoint",
    "MetricEvaluator",
    "MetricsFile",
    "StepOutput",
    "VisionTask",
    "WeightEMA",
    "constant",
    "cosine",
    "poly",
    "steps",
]

__getattr__ = face(
    __name__,
    {
        "BestCheckpoint": "best",
        "Evaluator": "evaluator",
        "FullySharded": "fsdp",
        "LastCheckpoint": "checkpoints",
        "MetricEvaluator": "evaluator",
        "MetricsFile": "loggers",
        "StepOutput": "step",
        "VisionTask": "task",
        "WeightEMA": "ema",
        "constant": "schedule",
        "cosine": "schedule",
        "poly": "schedule",
        "steps": "schedule",
    },
)
