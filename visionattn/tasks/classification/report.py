"""A classification in a report: classes, confusion, calibration.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visionattn.drawing.plots import reliability
from visionattn.reports import Bars, Column, Curves, Matrix, Panels, Section, Table
from visionattn.tasks.classification.metric import CALIBRATION_BINS, LARGEST_MATRIX, Predictions, calibration
from visionattn.tasks.statistics import class_counts

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

_LISTED = 100  # rows of the list in place of a matrix


def class_sections(latest: Predictions, data: VisionData) -> list[Section]:
    """The classes as a table and as a matrix, and how far the confidences can be believed."""
    names, title = data.class_names, "Confusion matrix"
    confused = _confusions(latest, len(names))
    sections: list[Section] = [_classes(latest, confused, data)]
    if len(names) <= LARGEST_MATRIX:
        sections.append(Matrix(title, latest.confusion(len(names)), names, names))
    else:
        rows = [[names[target], names[said], count] for count, target, said in confused[:_LISTED]]
        sections.append(Table("Most frequent confusions", ["target", "predicted", "images"], rows))
    return [*sections, _calibration(latest)]


def _confusions(latest: Predictions, num_classes: int) -> list[tuple[int, int, int]]:
    """Count, target and prediction of what is taken for something else, the most frequent first."""
    target, predicted = np.array(latest.target, np.int64), np.array(latest.prediction, np.int64)
    wrong = target != predicted
    pairs, counts = np.unique(target[wrong] * num_classes + predicted[wrong], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(counts[i]), *divmod(int(pairs[i]), num_classes)) for i in order]


def _classes(latest: Predictions, confused: Sequence[tuple[int, int, int]], data: VisionData) -> Table:
    names, target, predicted = data.class_names, np.array(latest.target), np.array(latest.prediction)
    right, targets, found = (
        np.bincount(labels, minlength=len(names)) for labels in (target[target == predicted], target, predicted)
    )
    training = class_counts(data, "train") if "train" in data.sizes else None
    taken = {label: f"{names[said]} ({count:,})" for count, label, said in reversed(confused)}
    rows = []
    for label, name in enumerate(names):
        shares = [_share(right[label], of[label]) for of in (targets, found)]
        more = [] if training is None else [int(training[label])]
        rows.append([name, *shares, int(targets[label]), *more, taken.get(label, "")])
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
