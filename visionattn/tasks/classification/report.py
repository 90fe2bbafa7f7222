"""A classification in a report: classes, confusion, calibration.

Shapes: K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from visionattn.drawing.plots import reliability
from visionattn.reports import Bars, Column, Curves, Matrix, Panels, Section, Table
from visionattn.tasks.classification.metric import CALIBRATION_BINS, Predictions, calibration
from visionattn.tasks.statistics import class_counts

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


def class_sections(latest: Predictions, data: VisionData) -> list[Section]:
    """The classes as a table and as a matrix, and how far the confidences can be believed."""
    names = data.class_names
    matrix = latest.confusion(len(names))
    title = "Confusion matrix"
    return [_classes(matrix, names, data), Matrix(title, matrix, names, names), _calibration(latest)]


def _classes(matrix: np.ndarray, names: list[str], data: VisionData) -> Table:
    right, targets, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    off = matrix - np.diag(right)
    training = class_counts(data, "train") if "train" in data.sizes else None
    rows = []
    for label, name in enumerate(names):
        most = int(off[label].argmax())
        confused = f"{names[most]} ({off[label, most]:,})" if off[label, most] else ""
        shares = [_share(right[label], of[label]) for of in (targets, predicted)]
        more = [] if training is None else [int(training[label])]
        rows.append([name, *shares, int(targets[label]), *more, confused])
    columns = [
        Column("class"),
        Column("recall", bar=True, top=100, help="share of the class's images that are predicted as it, in percent"),
        Column("precision", bar=True, top=100, help="share of the predictions of the class that are right, in percent"),
        Column("images"),
        *([Column("training images")] if training is not None else []),
        Column("most often taken for", help="the most frequent wrong prediction, and how often"),
    ]
    return Table("Classes", columns, rows)


def _share(part: int, whole: int) -> float | None:
    return 100 * float(part) / float(whole) if whole else None


def _calibration(latest: Predictions) -> Panels:
    confidence = np.array(latest.confidence)
    correct = np.array(latest.target) == np.array(latest.prediction)
    counts, accuracy, mean = reliability(confidence, correct, CALIBRATION_BINS)
    filled = counts > 0
    curves = {"accuracy": (mean[filled], accuracy[filled]), "perfect": (np.array([0.0, 1.0]), np.array([0.0, 1.0]))}
    unit = (0.0, 1.0)
    edges = [f"{low / CALIBRATION_BINS:.2f} to {(low + 1) / CALIBRATION_BINS:.2f}" for low in range(CALIBRATION_BINS)]
    error = calibration(latest)["ece"]
    return Panels(
        "Calibration",
        [
            Curves("Accuracy over confidence", curves, "confidence", "accuracy", x_range=unit, y_range=unit),
            Bars("Images by confidence", dict(zip(edges, map(int, counts), strict=True))),
        ],
        f"The expected calibration error is {error:.2f} % (15 bins).",
    )
