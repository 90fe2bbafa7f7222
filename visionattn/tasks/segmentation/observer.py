"""What segmentation says about a validation: per-class figures, pictures of predictions, the confusion matrix.

Shapes: H W picture, K classes.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from visionattn.drawing.segmentation import overlay, palette_image, plot_class_iou, plot_comparison, with_legend
from visionattn.tasks.observer import KeepingObserver
from visionattn.tasks.predict import Predicted
from visionattn.tasks.segmentation.metric import figures, per_class
from visionattn.training.task import StepOutput


class SegmentationObserver(KeepingObserver):
    """Keeps the first pictures of a validation with what is said of them and what is true.

    Args:
        task: whose metrics hold the confusion matrix.
    """

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.task = task

    def part(self, outputs: StepOutput, batch: Any, place: int) -> tuple[Tensor, Tensor, Tensor]:
        said, true = (classes[place].to(torch.uint8).cpu() for classes in (outputs.prediction, batch["target"]))
        return batch["image"][place].cpu(), said, true

    def figures(self, data: Any) -> dict[str, float]:
        """mIoU, mAcc and aAcc in double precision from the integer counts, and the boundary IoU where it was taken."""
        found = figures(self._matrix())
        answer = {name: float(found[name]) for name in ("mIoU", "mAcc", "aAcc")}
        if (band := self._boundary()) is not None:
            answer["boundary_mIoU"] = float(per_class(band).nanmean())
        return answer

    def draw(self, folder: Path, data: Any) -> dict[str, Path]:
        if not self.kept:
            return {}
        names, palette = data.class_names, data.palette
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (data.eval_transform.mean, data.eval_transform.std))
        (folder / "overlays").mkdir(parents=True, exist_ok=True)
        samples = []
        for name, (image, said, true) in self.kept.items():
            pixels = (image.float() * std + mean).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
            short = name.rpartition("/")[2]
            samples.append((pixels, true.numpy(), said.numpy(), short))
            Image.fromarray(overlay(pixels, said.numpy(), palette)).save(folder / "overlays" / f"{short}.png")
        pictures = {"predictions": folder / "predictions.png", "IoU of the classes": folder / "classes.png"}
        plot_comparison(samples, palette, names, pictures["predictions"])
        found = figures(self._matrix())
        plot_class_iou(names, found["IoU"].numpy(), float(found["mIoU"]), pictures["IoU of the classes"])
        return pictures

    def files(self, folder: Path) -> dict[str, Path]:
        """``classes.csv``: a row for each class; ``confusion.npy``: the int64 matrix, rows true, columns predicted."""
        matrix, band = self._matrix(), self._boundary()
        found, table = figures(matrix), folder / "classes.csv"
        columns = {"IoU": found["IoU"].tolist(), "Acc": found["Acc"].tolist()}
        if band is not None:
            columns["boundary_IoU"] = per_class(band).tolist()
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class", *columns, "pixels"])
            for row in zip(self.task.class_names, *columns.values(), matrix.sum(1).tolist(), strict=True):
                writer.writerow(row)
        np.save(folder / "confusion.npy", matrix.numpy())
        return {"classes": table, "confusion matrix": folder / "confusion.npy"}

    def _matrix(self) -> Tensor:
        return self.task.metrics["dataset"].latest

    def _boundary(self) -> Tensor | None:
        return self.task.metrics["boundary"].latest if "boundary" in self.task.metrics else None


def draw_prediction(image: Image.Image, classes: np.ndarray, names: list[str], palette: np.ndarray) -> Predicted:
    """The answer for one picture: its classes drawn over it with a legend, their shares, and the class map as a PNG."""
    counts = np.bincount(classes.reshape(-1), minlength=len(names))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    drawn = Image.fromarray(overlay(np.asarray(image), classes, palette))
    shares = [{"class": names[k], "label": k, "share": counts[k] / classes.size} for k in order]
    picture = with_legend(drawn, [(names[k], palette[k].tolist()) for k in order[:20]])
    record = {"size": list(image.size), "classes": shares}
    return Predicted(picture, record, {"classes": palette_image(classes, palette)})
