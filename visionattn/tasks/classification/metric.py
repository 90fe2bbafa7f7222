"""Metrics of classification: accuracy, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional.classification import binary_calibration_error

from visionattn.errors import DataError, NonFiniteLossError
from visionattn.training.distributed import gather
from visionattn.training.evaluator import MetricEvaluator

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

CALIBRATION_BINS = 15
LARGEST_MATRIX = 1500
"""Classes of a confusion matrix, which grows with their square: 21,841 of them would take 4 GB."""
_KEPT = 30


class Percent(MulticlassAccuracy):
    """Share of samples whose class is among the ``top_k`` likeliest, in percent over all samples."""

    def __init__(self, num_classes: int, top_k: int):
        super().__init__(num_classes=num_classes, top_k=top_k, average="micro")

    def compute(self) -> Tensor:
        return 100.0 * super().compute()


class ClassificationEvaluator(MetricEvaluator):
    """Top-k accuracies in percent, exact for any number of processes.

    Args:
        top_k: the figures are ``top1``, ``top5``...; a k from the number of classes on is left out.
    """

    def __init__(self, top_k: Sequence[int] = (1, 5)) -> None:
        self.top_k = tuple(top_k)
        super().__init__({}, shown=[f"top{k}" for k in self.top_k])

    def setup(self, data: VisionData) -> None:
        classes = data.num_classes
        kept = [k for k in self.top_k if k == 1 or k < classes]
        self.metrics = MetricCollection({f"top{k}": Percent(classes, top_k=k) for k in kept})
        self.figures = tuple(f"top{k}" for k in kept)


@dataclass
class Predictions:
    """The predictions of one validation epoch, over all processes once :meth:`gathered`.

    Attributes:
        ids, target, prediction, confidence: one entry per sample.
        mistakes: (confidence, caption, image) of wrong ones, the most confident first.
    """

    ids: list[str] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    prediction: list[int] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    mistakes: list[tuple[float, str, Tensor]] = field(default_factory=list)

    def add(self, logits: Tensor, batch: Mapping[str, Any], class_names: Sequence[str]) -> None:
        """Add a batch with its logits ``(B, K)``."""
        confidence, predicted = logits.float().softmax(-1).max(-1)
        target = batch["target"]
        for i in (predicted != target).nonzero().flatten().tolist():
            prediction_name, target_name = class_names[int(predicted[i])], class_names[int(target[i])]
            caption = f"predicted {prediction_name} ({100 * float(confidence[i]):.0f} %)\ntarget {target_name}"
            self.mistakes.append((float(confidence[i]), caption, batch["image"][i].detach().cpu()))
        self.mistakes = _worst(self.mistakes)
        self.ids += batch["id"]
        self.target += target.tolist()
        self.prediction += predicted.tolist()
        self.confidence += confidence.tolist()

    def gathered(self) -> Predictions:
        """The union over all processes, on every process."""
        union = Predictions()
        for shard in gather(self):
            for name in ("ids", "target", "prediction", "confidence", "mistakes"):
                getattr(union, name).extend(getattr(shard, name))
        union.mistakes = _worst(union.mistakes)
        return union

    def confusion(self, num_classes: int) -> np.ndarray:
        """Count targets by predictions, int64 ``(K, K)``."""
        pairs = np.array(self.target, np.int64) * num_classes + np.array(self.prediction, np.int64)
        return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _worst(mistakes: list[tuple[float, str, Tensor]]) -> list[tuple[float, str, Tensor]]:
    return sorted(mistakes, key=lambda mistake: -mistake[0])[:_KEPT]


def calibration(predictions: Predictions) -> dict[str, float]:
    """Expected calibration error in percent (Guo et al. 2017, arXiv 1706.04599): 15 equal bins of the confidence.

    The predictions are taken in the order of their ids, so that the number of processes changes no digit.

    Raises:
        DataError: there is nothing to score.
        NonFiniteLossError: logits that are not finite.
    """
    ids, confidences = predictions.ids, predictions.confidence
    if not ids:
        raise DataError("there is no image to score: none could be read, or the set is empty")
    order = sorted(range(len(ids)), key=ids.__getitem__)
    broken = [ids[i] for i in order if not math.isfinite(confidences[i])]
    if broken:
        raise NonFiniteLossError(f"the logits of {len(broken)} images are not finite, e.g. {', '.join(broken[:5])}")
    confidence = torch.tensor([confidences[i] for i in order], dtype=torch.float64)
    correct = torch.tensor([int(predictions.prediction[i] == predictions.target[i]) for i in order])
    error = binary_calibration_error(confidence, correct, n_bins=CALIBRATION_BINS, norm="l1")
    return {"ece": 100 * float(error), "confidence": 100 * float(confidence.mean())}
