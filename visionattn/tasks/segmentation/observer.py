"""What is reported of a semantic segmentation: per-class figures, drawings of predictions, the confusion matrix.

Shapes: H W image, K classes.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Trainer
from PIL import Image
from torch import Tensor

from visionattn.drawing.segmentation import overlay, palette_image, plot_class_iou, plot_comparison, with_legend
from visionattn.tasks.observer import SampleObserver
from visionattn.tasks.predict import Predicted
from visionattn.tasks.segmentation.metric import BoundaryIoUEvaluator, SemanticEvaluator, figures, per_class
from visionattn.training.task import StepOutput

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class SegmentationObserver(SampleObserver):
    """An observer that keeps the first images of a validation with their predicted and target classes.

    Args:
        evaluator: keeps the confusion matrix; without one there are no figures and no files.
        boundary: keeps the counts of the boundary IoU; None: it is not evaluated.
    """

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

    def figures(self, data: VisionData) -> dict[str, float]:
        """Return mIoU, mAcc and aAcc, and the boundary IoU if it is evaluated, in double precision from the counts."""
        answer = {}
        if self._matrix is not None:
            values = figures(self._matrix)
            answer = {name: float(values[name]) for name in ("mIoU", "mAcc", "aAcc")}
        if self._boundary is not None:
            answer["boundary_mIoU"] = float(per_class(self._boundary).nanmean())
        return answer

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Draw a sheet of predictions beside targets, an overlay per image, and a bar chart of the classes."""
        if not self.kept:
            return {}
        names, palette = data.class_info.names, np.array(data.class_info.palette, np.uint8)
        mean, std = (
            torch.tensor(values).view(3, 1, 1) for values in (data.eval_transform.mean, data.eval_transform.std)
        )
        (folder / "overlays").mkdir(parents=True, exist_ok=True)
        samples = []
        for name, (image, predicted, target) in self.kept.items():
            pixels = (image.float() * std + mean).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
            short = name.rpartition("/")[2]
            samples.append((pixels, target.numpy(), predicted.numpy(), short))
            Image.fromarray(overlay(pixels, predicted.numpy(), palette)).save(folder / "overlays" / f"{short}.png")
        files = {"predictions": folder / "predictions.png"}
        plot_comparison(samples, palette, names, files["predictions"])
        if self._matrix is not None:
            files["IoU of the classes"] = folder / "classes.png"
            values = figures(self._matrix)
            plot_class_iou(names, values["IoU"].numpy(), float(values["mIoU"]), files["IoU of the classes"])
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
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class", *columns, "pixels"])
            writer.writerows(zip(data.class_info.names, *columns.values(), matrix.sum(1).tolist(), strict=True))
        np.save(folder / "confusion.npy", matrix.numpy())
        return {"classes": table, "confusion matrix": folder / "confusion.npy"}


def draw_prediction(image: Image.Image, classes: np.ndarray, names: list[str], palette: np.ndarray) -> Predicted:
    """The prediction for one image: its classes drawn over it with a legend, their shares, and the class map."""
    counts = np.bincount(classes.reshape(-1), minlength=len(names))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    drawn = Image.fromarray(overlay(np.asarray(image), classes, palette))
    shares = [{"class": names[k], "label": k, "share": counts[k] / classes.size} for k in order]
    legend = with_legend(drawn, [(names[k], palette[k].tolist()) for k in order[:20]])
    record = {"size": list(image.size), "classes": shares}
    return Predicted(legend, record, {"classes": palette_image(classes, palette)})
