"""Predictions of a classifier on changed images, batch by batch, outside Lightning's loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from visionattn.data.classification import ClassificationData
from visionattn.errors import ConfigError
from visionattn.runs.build import Run


def check_classifier(measure: str, run: Run) -> None:
    """Refuse a measure of predicted classes for another task, or for images that are not RGB.

    Raises:
        ConfigError: says which.
    """
    if not isinstance(run.data, ClassificationData):
        raise ConfigError(
            f"measures=[{measure}] is defined for classification, and the checkpoint holds a {type(run.task).__name__}"
        )
    if measure == "corruptions" and run.data.in_chans != 3:
        raise ConfigError(f"measures=[corruptions] is defined for RGB images, not for {run.data.in_chans} channels")


class Predictor:
    """The classes that a model predicts.

    Args:
        run: the evaluation.
    """

    def __init__(self, run: Run) -> None:
        self.task, self.data, self.strategy = run.task, run.data, run.trainer.strategy

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The model on its device, in evaluation, without gradients and in the evaluation's precision."""
        training = self.task.training
        self.task.to(self.strategy.root_device).eval()
        try:
            with torch.inference_mode(), self.strategy.precision_plugin.forward_context():
                yield
        finally:
            self.task.to("cpu").train(training)

    def batches(self) -> Iterator[dict[str, Any]]:
        """Batches as the loader gives them, without those in which no image could be read."""
        for batch in self.data.val_dataloader():
            if len(batch["id"]):
                yield batch

    def classes(self, images: Tensor) -> Tensor:
        """Predicted classes ``(B,)`` of 8-bit images ``(B, C, H, W)``."""
        images = images.to(self.strategy.root_device)
        return self.task(self.data.to_model_input({"image": images})["image"]).argmax(-1).cpu()
