"""What is reported of a classification: calibration, confusion matrix, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning import LightningModule, Trainer

from visionattn.drawing.plots import plot_confusion, plot_mistakes
from visionattn.tasks.classification.metric import Predictions, calibration
from visionattn.tasks.observer import Observer
from visionattn.training.task import StepOutput, data_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class ClassificationObserver(Observer):
    """An observer that keeps every prediction.

    Attributes:
        latest: the predictions of the latest validation, of all processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.latest = Predictions()
        self._names: list[str] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self.latest, self._names = Predictions(), data_of(trainer).class_info.names

    def keep(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        self.latest.add(output.prediction, batch, self._names)

    def unite(self, trainer: Trainer) -> None:
        self.latest = self.latest.gathered()

    def figures(self, data: VisionData) -> dict[str, float]:
        """Expected calibration error and mean confidence, and figures of the test set's own (``ScoredRecords``)."""
        from visionattn.data.records import ScoredRecords

        figures = calibration(self.latest)
        records = data.records("val")
        if isinstance(records, ScoredRecords):
            figures |= records.scores(dict(zip(self.latest.ids, self.latest.prediction, strict=True)))
        return figures

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        latest = self.latest
        if not latest.ids:
            return {}
        files = {"confusion matrix": folder / "confusion.png", "mistakes": folder / "mistakes.png"}
        target, prediction = np.array(latest.target), np.array(latest.prediction)
        plot_confusion(target, prediction, data.class_names, files["confusion matrix"])
        plot_mistakes(
            [image for _, _, image in latest.mistakes],
            [caption for _, caption, _ in latest.mistakes],
            files["mistakes"],
            mean=data.eval_transform.mean,
            std=data.eval_transform.std,
            total=int((target != prediction).sum()),
        )
        return files
