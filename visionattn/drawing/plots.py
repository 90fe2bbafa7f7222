"""The plots of a run: learning curves, confusion matrix, calibration, precision and recall, mistakes.

Shapes: K classes, I images, T thresholds, R recalls.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from visionattn.drawing.bars import name_ticks
from visionattn.drawing.canvas import sheet_of
from visionattn.drawing.figures import empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GRAY = "#2b6cb0", "#dd6b20", "#4a5568"
_FEW = 30  # points: these get a marker each
_NAMED = 60  # classes: up to here a confusion matrix has names
_COUNTED = 30  # and up to here counts


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Read ``metrics.csv`` as name to list of (step, value)."""
    series: dict[str, list[tuple[int, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name not in ("step", "epoch"):
                    series.setdefault(name, []).append((int(row["step"]), float(value)))
    return series


def plot_curves(metrics_csv: Path, output: Path, *, metric: str = "val/top1") -> None:
    """Plot training and validation loss on the left, the validation metric and the learning rate on the right."""
    series = read_metrics(metrics_csv)
    figure = empty_figure(11, 4)
    left, right = figure.subplots(1, 2)
    _line(left, series.get("train/loss", []), "training loss", _GRAY, smooth=True)
    _line(left, series.get("val/loss", []), "validation loss", _BLUE)
    left.set(xlabel="optimizer step", ylabel="loss", title="Loss")
    if left.get_legend_handles_labels()[0]:
        left.legend(loc="upper right", frameon=False)
    _line(right, series.get(metric, []), metric, _BLUE)
    right.set(xlabel="optimizer step", ylabel=metric, title="Validation")
    if points := [(step, value) for step, value in series.get(metric, []) if np.isfinite(value)]:
        step, value = points[-1]
        right.annotate(
            f"{value:.2f}", (step, value), (0, 6), textcoords="offset points", ha="right", va="bottom", color=_BLUE
        )
        right.margins(y=0.12)
    if rates := next((points for name, points in series.items() if name.startswith("lr-")), []):
        rate = right.twinx()
        _line(rate, rates, "learning rate", _ORANGE, marker="x")
        rate.set_ylabel("learning rate", color=_ORANGE)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(output, dpi=120)


def _line(
    axes: Axes, points: Sequence[tuple[int, float]], label: str, color: str, smooth: bool = False, marker: str = "o"
) -> None:
    """A curve, with a marker at each point where there are few; many points are smoothed over a shade of themselves."""
    if not points:
        return
    steps, values = np.array([step for step, _ in points]), np.array([value for _, value in points])
    few = len(values) <= _FEW
    if smooth and len(values) > 10:
        axes.plot(steps, values, color=color, alpha=0.2)
        width, few, label = max(len(values) // 40, 3), False, f"{label} (smoothed)"
        values = np.convolve(np.pad(values, (width - 1, 0), mode="edge"), np.full(width, 1 / width), mode="valid")
    axes.plot(steps, values, color=color, label=label, linewidth=1.6, marker=marker if few else None, markersize=5)


def plot_confusion(matrix: np.ndarray, names: Sequence[str], output: Path, *, title: str) -> None:
    """Plot a confusion matrix; rows are targets, shaded by their share.

    Up to 30 classes have counts, up to 60 have names.

    Args:
        matrix: int ``(K, K)``, targets by predictions.
        names: names of the rows and columns.
        output: the file.
        title: above the matrix.
    """
    count = len(names)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    named = count <= _NAMED
    side = min(max(4.5, 0.42 * count + 2), 18) if named else 10
    figure = empty_figure(side, side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if named:
        name_ticks(axes.xaxis, names, rotation=0 if max(map(len, names)) <= 2 else 90, fontsize=9)
        name_ticks(axes.yaxis, names, fontsize=9)
    if count <= _COUNTED:
        for row, column in np.argwhere(matrix):
            number, dark = int(matrix[row, column]), share[row, column] > 0.5
            text = axes.text(column, row, _short_count(number), ha="center", va="center")
            text.set(color="white" if dark else _GRAY, fontsize=9 if number < 1000 else 7)
    axes.set(xlabel="predicted", ylabel="target", title=title)
    figure.savefig(output, dpi=120)


def _short_count(number: int) -> str:
    """A count in at most five characters."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if number >= size:
            return f"{number / (10**3 if letter == 'k' else size):.0f}{letter}"
    return str(number)


def plot_mistakes(tiles: Sequence[tuple[Image.Image, str]], output: Path, *, total: int) -> None:
    """Draw a sheet of wrongly classified images with captions.

    Args:
        tiles: image and caption, such as prediction and target.
        output: the file.
        total: number of mistakes, of which the tiles are some.
    """
    shown = {0: "no mistakes", 1: "1 mistake"}.get(total, f"all {total:,} mistakes")
    if total > len(tiles):
        shown = f"the {len(tiles)} most confident of {total:,} mistakes"
    sheet_of(tiles, columns=6, edge=190, title=shown).save(output)


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of images, accuracy and mean confidence in equal bins of the confidence, ``(bins,)`` each.

    Args: as for :func:`plot_calibration`. An empty bin has zeros.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    accuracy = np.bincount(place, weights=correct, minlength=bins) / np.maximum(counts, 1)
    return counts, accuracy, np.bincount(place, weights=confidence, minlength=bins) / np.maximum(counts, 1)


def plot_calibration(confidence: np.ndarray, correct: np.ndarray, output: Path, *, bins: int, error: float) -> None:
    """Plot a reliability diagram (Guo et al. 2017, arXiv 1706.04599): accuracy in each bin of the confidence.

    Below it stands the number of images in each bin.

    Args:
        confidence: float ``(I,)``, the probability of the predicted class.
        correct: bool ``(I,)``.
        output: the file.
        bins: equal bins of 0..1.
        error: the expected calibration error in percent, as it is reported.
    """
    counts, accuracy, mean = reliability(confidence, correct, bins)
    filled, middle = counts > 0, (np.arange(bins) + 0.5) / bins
    figure = empty_figure(5.2, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(middle[filled], accuracy[filled], 0.94 / bins, color=_BLUE, label="accuracy")
    upper.plot(mean[filled], mean[filled], "_", color=_ORANGE, markersize=14, markeredgewidth=2, label="confidence")
    upper.plot([0, 1], [0, 1], color=_GRAY, linewidth=1, linestyle="--")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"expected calibration error {error:.2f} %")
    upper.legend(frameon=False, loc="upper left")
    lower.bar(middle, counts, 0.94 / bins, color=_GRAY)
    lower.set(xlabel="confidence", ylabel="images")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    figure.savefig(output, dpi=120)


def plot_precision_recall(curves: Mapping[str, np.ndarray], thresholds: Sequence[float], output: Path) -> None:
    """Plot precision over recall, the mean over the classes, at an IoU of 0.5, of 0.75, and over all thresholds.

    Args:
        curves: kind (``box``, ``mask``) -> precision ``(T, R)`` at R recalls from 0 to 1, NaN where there is no object.
        thresholds: the T thresholds of the IoU.
        output: the file.
    """
    figure = empty_figure(5.2 * len(curves), 4.4)
    for axes, (kind, precision) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        recall = np.linspace(0, 1, precision.shape[1])
        for color, level in ((_BLUE, 0.5), (_ORANGE, 0.75)):
            values = precision[int(np.argmin(np.abs(np.array(thresholds) - level)))]
            axes.plot(recall, values, color=color, label=f"IoU {level:g}: AP {100 * values.mean():.2f}")
        mean = precision.mean(0)
        axes.plot(recall, mean, color=_GRAY, label=f"IoU 0.5 to 0.95: AP {100 * mean.mean():.2f}")
        axes.set(xlabel="recall", ylabel="precision", title=kind, xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.25)
        axes.legend(loc="lower left", frameon=False, fontsize=9)
    figure.savefig(output, dpi=120)
