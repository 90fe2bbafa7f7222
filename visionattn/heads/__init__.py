"""Heads: what a task puts on a backbone's features. Their input is ``feature_info``, never a list of channels."""

from visionattn.heads.classification import ClassificationHead, KeepClasses, LogitsHead

__all__ = ["ClassificationHead", "KeepClasses", "LogitsHead"]
