"""What classification says about a validation: calibration, confusion matrix, mistakes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import binary_calibration_error

from visionattn.drawing.plots import plot_confusion, plot_mistakes
from visionattn.errors import DataError, NonFiniteLossError
from visionattn.tasks.observer import Observer
from visionattn.training.callbacks import PredictionCollector, Predictions

CALIBRATION_BINS = 15


class ClassificationObserver(Observer, PredictionCollector):
    """Keeps every prediction; see :class:`PredictionCollector`."""

    @property
    def ids(self) -> list[str]:
        return self.latest.ids

    def figures(self, data: Any) -> dict[str, float]:
        """Expected calibration error and mean confidence, and what the test set itself scores (``ScoredRecords``)."""
        from visionattn.data.records import ScoredRecords

        figures = calibration(self.latest)
        records = data.records("val")
        if isinstance(records, ScoredRecords):
            figures |= records.scores(dict(zip(self.latest.ids, self.latest.prediction, strict=True)))
        return figures

    def draw(self, folder: Path, data: Any) -> dict[str, Path]:
        latest = self.latest
        if not latest.ids:
            return {}
        pictures = {"confusion matrix": folder / "confusion.png", "mistakes": folder / "mistakes.png"}
        target, prediction = np.array(latest.target), np.array(latest.prediction)
        plot_confusion(target, prediction, data.class_names, pictures["confusion matrix"])
        plot_mistakes(
            [image for _, _, image in latest.mistakes],
            [caption for _, caption, _ in latest.mistakes],
            pictures["mistakes"],
            mean=data.eval_transform.mean,
            std=data.eval_transform.std,
            total=int((target != prediction).sum()),
        )
        return pictures


def calibration(said: Predictions) -> dict[str, float]:
    """Expected calibration error in percent (Guo et al. 2017, arXiv 1706.04599): 15 equal bins of the confidence.

    From the gathered predictions in the order of their ids, so that the number of processes changes no digit.

    Raises:
        DataError: there is nothing to score.
        NonFiniteLossError: logits that are not finite.
    """
    if not said.ids:
        raise DataError("there is no image to score: none could be read, or the set is empty")
    order = sorted(range(len(said.ids)), key=said.ids.__getitem__)
    strange = [said.ids[i] for i in order if not math.isfinite(said.confidence[i])]
    if strange:
        raise NonFiniteLossError(f"the logits of {len(strange)} images are not finite, e.g. {', '.join(strange[:5])}")
    confidence = torch.tensor([said.confidence[i] for i in order], dtype=torch.float64)
    correct = torch.tensor([int(said.prediction[i] == said.target[i]) for i in order])
    error = binary_calibration_error(confidence, correct, n_bins=CALIBRATION_BINS, norm="l1")
    return {"ece": 100 * float(error), "confidence": 100 * float(confidence.mean())}
