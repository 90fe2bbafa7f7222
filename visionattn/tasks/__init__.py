"""Tasks: LightningModules that train a backbone with a head."""

from visionattn.tasks.classification import ClassificationTask
from visionattn.tasks.task import StepOutput, VisionTask

__all__ = ["ClassificationTask", "StepOutput", "VisionTask"]
