"""The plots of a run: learning curves, confusion matrix, the most confident mistakes.

Shapes: K classes, C channels, H W image.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

_BLUE, _ORANGE, _GRAY = "#2b6cb0", "#dd6b20", "#4a5568"


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
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _line(left, series.get("train/loss", []), "training loss (smoothed)", _GRAY, smooth=True)
    _line(left, series.get("val/loss", []), "validation loss", _BLUE)
    left.set(xlabel="optimizer step", ylabel="loss", title="Loss")
    if left.get_legend_handles_labels()[0]:
        left.legend(frameon=False)
    _line(right, series.get(metric, []), metric, _BLUE)
    right.set(xlabel="optimizer step", ylabel=f"{metric} (%)", title="Validation")
    if values := [value for _, value in series.get(metric, [])]:
        right.annotate(f"{values[-1]:.2f} %", (series[metric][-1][0], values[-1]), ha="right", va="bottom", color=_BLUE)
    rate = right.twinx()
    _line(
        rate, next((points for name, points in series.items() if name.startswith("lr-")), []), "learning rate", _ORANGE
    )
    rate.set_ylabel("learning rate", color=_ORANGE)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    figure.savefig(output, dpi=120)


def _line(axes: Axes, points: Sequence[tuple[int, float]], label: str, color: str, smooth: bool = False) -> None:
    if not points:
        return
    steps, values = np.array([step for step, _ in points]), np.array([value for _, value in points])
    if smooth and len(values) > 10:
        axes.plot(steps, values, color=color, alpha=0.2)
        width = max(len(values) // 40, 3)
        values = np.convolve(np.pad(values, (width - 1, 0), mode="edge"), np.full(width, 1 / width), mode="valid")
    axes.plot(steps, values, color=color, label=label, linewidth=1.6)


def plot_confusion(target: np.ndarray, prediction: np.ndarray, class_names: Sequence[str], output: Path) -> None:
    """Plot the confusion matrix; rows are targets, shaded by their share; up to 30 classes with counts."""
    count = len(class_names)
    matrix = np.bincount(target * count + prediction, minlength=count * count).reshape(count, count)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(max(4.5, 0.45 * count + 2), 14)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if count <= 30:
        axes.set_xticks(range(count), class_names, rotation=0 if max(map(len, class_names)) <= 3 else 90)
        axes.set_yticks(range(count), class_names)
        for row, column in np.argwhere(matrix):
            dark = share[row, column] > 0.5
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color="white" if dark else _GRAY)
    accuracy = 100 * (target == prediction).mean() if len(target) else float("nan")
    axes.set(xlabel="predicted", ylabel="target", title=f"{len(target)} images, accuracy {accuracy:.2f} %")
    figure.savefig(output, dpi=120)


def plot_mistakes(
    images: Sequence[Tensor],
    captions: Sequence[str],
    output: Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    total: int,
) -> None:
    """Plot a sheet of wrongly classified images ``(C, H, W)`` with captions.

    Args:
        images: normalized images.
        captions: one per image, such as prediction and target.
        output: the file.
        mean: mean of the normalization.
        std: standard deviation of the normalization.
        total: number of mistakes, of which ``images`` are some.
    """
    columns = 6
    rows = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows + 0.6), layout="constrained")
    shown = {0: "no mistakes", 1: "1 mistake"}.get(total, f"all {total} mistakes")
    if total > len(images):
        shown = f"the {len(images)} most confident of {total} mistakes"
    figure.suptitle(shown, fontsize=12)
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, images, captions, strict=False):
        pixels = image.float().cpu().numpy().transpose(1, 2, 0) * np.array(std) + np.array(mean)
        axes.imshow(pixels.clip(0, 1), interpolation="nearest")
        axes.set_title(caption, fontsize=8)
    figure.savefig(output, dpi=120)
