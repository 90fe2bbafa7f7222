"""What is reported of a classification: calibration, confusion matrix, mistakes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import LightningModule, Trainer

from visionattn.drawing.bars import plot_class_bars
from visionattn.drawing.plots import plot_calibration, plot_confusion, plot_mistakes
from visionattn.errors import counted
from visionattn.reports import Sample, Section, thumbnail
from visionattn.tasks.classification.metric import CALIBRATION_BINS, LARGEST_MATRIX, Predictions, calibration
from visionattn.tasks.classification.report import class_sections
from visionattn.tasks.observer import SHOWN, Observer
from visionattn.tasks.pictures import Tile, as_image, caption_of
from visionattn.training.step import StepOutput
from visionattn.training.task import data_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class ClassificationObserver(Observer):
    """An observer that keeps every prediction.

    Attributes:
        latest: the predictions of the latest validation, of all processes.
    """

    ranked_by = (
        "The worst are wrong and sure of it, then right and unsure; the best are right and sure. These are the pixels "
        "that the model sees."
    )

    def __init__(self) -> None:
        super().__init__()
        self.latest = Predictions()
        self._names: list[str] = []
        self._unmixed = torch.empty(0)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self.latest, self._names = Predictions(), data_of(trainer).class_info.names

    def keep(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        self.latest.add(output.prediction, batch, self._names)

    def rank(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        count = len(batch["id"])
        entries = zip(
            *(getattr(self.latest, name)[-count:] for name in ("target", "prediction", "confidence")), strict=True
        )
        for index, (target, prediction, confidence) in enumerate(entries):
            draw = partial(self._sample, data_of(trainer), batch, index, target, prediction, confidence)
            self.ranked.offer(confidence if target == prediction else -confidence, batch["id"][index], draw)

    def _sample(
        self, data: VisionData, batch: Any, index: int, target: int, prediction: int, confidence: float
    ) -> Sample:
        image = thumbnail(as_image(batch["image"][index], data.mean, data.std))
        told = [f"target {self._names[target]}", f"predicted {self._names[prediction]} ({100 * confidence:.0f}\u00a0%)"]
        return Sample(image, caption_of(batch, index), told, mark="good" if target == prediction else "bad")

    def unite(self, trainer: Trainer) -> None:
        self.latest = self.latest.gathered()

    def figures(self, data: VisionData) -> dict[str, float]:
        """Expected calibration error and mean confidence, and figures of the test set's own (``ScoredRecords``)."""
        from visionattn.data.records import ScoredRecords

        figures = calibration(self.latest)
        records = data.records(data.evaluation_split)
        if isinstance(records, ScoredRecords):
            figures |= records.scores(dict(zip(self.latest.ids, self.latest.prediction, strict=True)))
        return figures

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._begun:
            self._unmixed = batch["image"][:SHOWN].detach().clone()  # mixup works in place

    def tiles(self, batch: Any, data: VisionData, count: int) -> list[Tile]:
        """Return the first images with their classes; two where the task mixed images."""
        names, targets, tiles = data.class_names, batch["target"].tolist(), []
        for index in range(min(count, len(targets))):
            text = names[targets[index]]
            if not torch.equal(batch["image"][index], self._unmixed[index]):
                text += f" + {names[targets[-1 - index]]}"  # timm mixes a batch with itself in reverse
            image = as_image(batch["image"][index], data.mean, data.std)
            tiles.append((image, f"{text}\n{caption_of(batch, index)}"))
        self._unmixed = torch.empty(0)
        return tiles

    def sections(self, data: VisionData) -> list[Section]:
        """Samples, classes, confusion matrix and calibration."""
        if not self.latest.ids:
            return []
        return [*super().sections(data), *class_sections(self.latest, data)]

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Draw confusion matrix, mistakes, accuracy of the classes and reliability diagram."""
        latest, names = self.latest, data.class_names
        if not latest.ids:
            return {}
        files = {"confusion matrix": folder / "confusion.png"} if len(names) <= LARGEST_MATRIX else {}
        files |= {
            "accuracy of the classes": folder / "classes.png",
            "calibration": folder / "calibration.png",
            "mistakes": folder / "mistakes.png",
        }
        target, prediction = np.array(latest.target), np.array(latest.prediction)
        counts = np.bincount(target, minlength=len(names))
        right = np.bincount(target[target == prediction], minlength=len(names))
        accuracy = 100 * right.sum() / len(target)
        if "confusion matrix" in files:
            title = f"{counted(len(target), 'image')}, accuracy {accuracy:.2f} %"
            plot_confusion(latest.confusion(len(names)), names, files["confusion matrix"], title=title)
        of_classes = np.where(counts > 0, 100 * right / np.maximum(counts, 1), np.nan).tolist()
        plot_class_bars(
            names,
            {"accuracy": of_classes},
            files["accuracy of the classes"],
            label="accuracy (%)",
            line=("all images", accuracy),
        )
        plot_calibration(
            np.array(latest.confidence),
            target == prediction,
            files["calibration"],
            bins=CALIBRATION_BINS,
            error=calibration(latest)["ece"],
        )
        tiles = [(as_image(image, data.mean, data.std), caption) for _, caption, image in latest.mistakes]
        plot_mistakes(tiles, files["mistakes"], total=int((target != prediction).sum()))
        return files
