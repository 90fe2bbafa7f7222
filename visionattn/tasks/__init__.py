"""Tasks: LightningModules that train a backbone with a head."""

from visionattn.tasks.classification import ClassificationTask
from visionattn.tasks.detection import DetectionTask
from visionattn.tasks.task import StepOutput, VisionTask

__all__ = ["ClassificationTask", "DetectionTask", "StepOutput", "VisionTask"]
