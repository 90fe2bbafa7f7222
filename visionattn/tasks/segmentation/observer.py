"""What is reported of a semantic segmentation: per-class figures, drawings of predictions, the confusion matrix.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Trainer
from PIL import Image
from torch import Tensor

from visionattn.drawing.bars import plot_class_bars
from visionattn.drawing.plots import plot_confusion
from visionattn.drawing.segmentation import backgrounds, draw_classes, legend_of, overlay, plot_comparison
from visionattn.errors import counted
from visionattn.files import write_rows
from visionattn.reports import Sample, Section, shrink_map, thumbnail
from visionattn.reports.images import THUMBNAIL
from visionattn.tasks.observer import SampleObserver
from visionattn.tasks.pictures import Tile, as_image, caption_of
from visionattn.tasks.segmentation.metric import BoundaryIoUEvaluator, SemanticEvaluator, figures, per_class
from visionattn.tasks.segmentation.report import RANKED_BY, class_sections, image_iou, map_sample
from visionattn.training.step import StepOutput
from visionattn.training.task import data_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class SegmentationObserver(SampleObserver):
    """An observer that keeps the first images of a validation with their predicted and target classes.

    Args:
        evaluator: keeps the confusion matrix; without one there are no figures and no files.
        boundary: keeps the counts of the boundary IoU; None: it is not evaluated.
    """

    ranked_by = RANKED_BY

    def __init__(self, evaluator: SemanticEvaluator | None, boundary: BoundaryIoUEvaluator | None) -> None:
        super().__init__()
        self._evaluator, self._boundary_evaluator = evaluator, boundary

    @property
    def _matrix(self) -> Tensor | None:
        return self._evaluator.latest if self._evaluator is not None else None

    @property
    def _boundary(self) -> Tensor | None:
        return self._boundary_evaluator.latest if self._boundary_evaluator is not None else None

    def sample(self, output: StepOutput, batch: Any, index: int, trainer: Trainer) -> tuple[Tensor, Tensor, Tensor]:
        predicted, target = (classes[index].to(torch.uint8).cpu() for classes in (output.prediction, batch["target"]))
        return batch["image"][index].cpu(), predicted, target

    def rank(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        for index, name in enumerate(batch["id"]):
            predicted, target = (
                shrink_map(classes[index].to(torch.uint8).cpu().numpy(), THUMBNAIL)
                for classes in (output.prediction, batch["target"])
            )
            iou = image_iou(predicted, target)
            self.ranked.offer(iou, name, partial(_sample, data_of(trainer), batch, index, predicted, target, iou))

    def sections(self, data: VisionData) -> list[Section]:
        """Samples, classes, confusion matrix."""
        classes = [] if self._matrix is None else class_sections(self._matrix, self._boundary, data.class_info, data)
        return [*super().sections(data), *classes]

    def figures(self, data: VisionData) -> dict[str, float]:
        """Return mIoU, mAcc and aAcc, and the boundary IoU if it is evaluated, in double precision from the counts."""
        answer = {}
        if self._matrix is not None:
            values = figures(self._matrix)
            answer = {name: float(values[name]) for name in ("mIoU", "mAcc", "aAcc")}
        if self._boundary is not None:
            answer["boundary_mIoU"] = float(per_class(self._boundary).nanmean())
        return answer

    def tiles(self, batch: Any, data: VisionData, count: int) -> list[Tile]:
        """Return the first images with their classes over them."""
        clear, palette = backgrounds(data.class_info.names), np.array(data.class_info.palette, np.uint8)
        tiles = []
        for index, classes in enumerate(_maps(batch, count)):
            pixels = np.asarray(as_image(batch["image"][index], data.mean, data.std))
            tiles.append((Image.fromarray(overlay(pixels, classes, palette, clear=clear)), caption_of(batch, index)))
        return tiles

    def legend(self, batch: Any, data: VisionData, count: int) -> list[tuple[str, list[int]]]:
        """Return the classes that occur."""
        return legend_of(_maps(batch, count), np.array(data.class_info.palette, np.uint8), data.class_info.names)

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Draw a sheet of predictions beside targets, an overlay per image, the classes, and the confusion matrix."""
        if not self.kept:
            return {}
        names, palette = data.class_info.names, np.array(data.class_info.palette, np.uint8)
        (folder / "overlays").mkdir(parents=True, exist_ok=True)
        samples = []
        for name, (pixels, predicted, target) in self.kept.items():
            image, classes = as_image(pixels, data.mean, data.std), predicted.numpy()
            samples.append((np.asarray(image), target.numpy(), classes, name))
            draw_classes(image, classes, palette, names).save(folder / "overlays" / f"{_file_name(name)}.png")
        files = {"predictions": folder / "predictions.png"}
        plot_comparison(samples, palette, names, files["predictions"])
        if self._matrix is not None:
            files |= {"IoU of the classes": folder / "classes.png", "confusion matrix": folder / "confusion.png"}
            values = figures(self._matrix)
            plot_class_bars(
                names,
                {"IoU": values["IoU"].tolist()},
                files["IoU of the classes"],
                label="IoU (%)",
                line=("mIoU", float(values["mIoU"])),
            )
            matrix, accuracy = self._matrix.cpu().numpy(), float(values["aAcc"])
            title = f"{counted(int(matrix.sum()), 'pixel')}, accuracy {accuracy:.2f} %"
            plot_confusion(matrix, names, files["confusion matrix"], title=title)
        return files

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write ``classes.csv``, a row per class, and ``confusion.npy``, the matrix: rows target, columns predicted."""
        matrix = self._matrix
        if matrix is None:
            return {}
        values, table = figures(matrix), folder / "classes.csv"
        columns = {"IoU": values["IoU"].tolist(), "Acc": values["Acc"].tolist()}
        if self._boundary is not None:
            columns["boundary_IoU"] = per_class(self._boundary).tolist()
        rows = zip(data.class_info.names, *columns.values(), matrix.sum(1).tolist(), strict=True)
        write_rows(table, [["class", *columns, "pixels"], *rows])
        np.save(folder / "confusion.npy", matrix.numpy())
        return {"classes": table, "confusion matrix": folder / "confusion.npy"}


def _sample(data: VisionData, batch: Any, index: int, predicted: np.ndarray, target: np.ndarray, iou: float) -> Sample:
    image = thumbnail(as_image(batch["image"][index], data.mean, data.std))
    return map_sample(image, predicted, target, iou, caption_of(batch, index), data.class_info)


def _maps(batch: Any, count: int) -> list[np.ndarray]:
    """The first target maps of a training batch."""
    return [classes.to(torch.uint8).cpu().numpy() for classes in batch["target"][:count]]


def _file_name(sample_id: str) -> str:
    """The id of a sample as the name of one file; ids with folders stay different."""
    return sample_id.replace("/", "_").replace("\\", "_")
