"""One bar chart for the figures of classes: accuracy, average precision, IoU, panoptic quality.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionattn.drawing.figures import empty_figure
from visionattn.drawing.text import drawable, families, for_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_BLUE, _ORANGE, _GREEN, _GRAY = "#2b6cb0", "#dd6b20", "#2f855a", "#4a5568"
_COLORS = (_BLUE, _ORANGE, _GREEN)
_MOST = 120
_KEPT = 40


def name_ticks(axis: Axis, names: Sequence[str], **style: Any) -> None:
    """Write names of classes at the positions 0, 1, ... of an axis, in fonts that have their characters."""
    axis.set_ticks(range(len(names)), for_plot(names), fontfamily=families(names), **style)


def plot_class_bars(
    names: Sequence[str],
    bars: Mapping[str, Sequence[float]],
    output: Path,
    *,
    label: str,
    line: tuple[str, float] | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Plot figures of classes as horizontal bars, the best class on top.

    Classes without a value in any of the bars are left out. Of more than 120 classes the 40 best and the 40 worst are
    shown.

    Args:
        names: names of the K classes.
        bars: kind -> a value of each class in percent, NaN where it has none: a bar per kind that has one.
        output: the file.
        label: of the axis of values.
        line: name and value of a line across the bars, such as their mean.
        marks: kind -> further values of each class, as marks.
    """
    values = {kind: np.array(of_classes, float) for kind, of_classes in bars.items()}
    order, title = _chosen(list(values.values()), len(names))
    figure = empty_figure(8, max(2.6, 0.21 * len(order) + 1.3))
    axes, shown = figure.subplots(), drawable(names)
    _draw_bars(axes, {kind: of_classes[order] for kind, of_classes in values.items()})
    for mark, (kind, of_classes) in zip("|.", (marks or {}).items(), strict=False):
        axes.plot(np.array(of_classes, float)[order], range(len(order)), mark, color="black", markersize=6, label=kind)
    if line is not None:
        axes.axvline(line[1], color=_GRAY, linewidth=1.2, linestyle="--", label=f"{line[0]} {line[1]:.2f}")
    name_ticks(axes.yaxis, [shown[k] for k in order], fontsize=8)
    axes.set(xlabel=label, xlim=(0, 100), ylim=(len(order) - 0.4, -0.6))
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    if len(bars) > 1 or marks or line is not None:
        figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(output, dpi=120)


def _chosen(bars: Sequence[np.ndarray], count: int) -> tuple[list[int], str]:
    """The classes with a value, the best first, and a title that says which they are."""
    first = np.array([_first_known([of_classes[k] for of_classes in bars]) for k in range(count)])
    order = [int(k) for k in np.argsort(-first, kind="stable") if not np.isnan(first[k])]
    title = f"{len(order)} classes"
    if len(order) <= _MOST:
        return order, title
    return [*order[:_KEPT], *order[-_KEPT:]], f"the {_KEPT} best and the {_KEPT} worst of {title}"


def _draw_bars(axes: Axes, bars: Mapping[str, np.ndarray]) -> None:
    """The bars of every class side by side; only those that have a value take room."""
    count = len(next(iter(bars.values()), ()))
    filled = np.array([~np.isnan(values) for values in bars.values()]).reshape(len(bars), count)
    height = 0.8 / np.maximum(filled.sum(0), 1)
    place = np.cumsum(filled, axis=0) - 1
    for row, (color, (kind, values)) in enumerate(zip(_COLORS, bars.items(), strict=False)):
        shown = np.flatnonzero(filled[row])
        middle = shown - 0.4 + (place[row] + 0.5)[shown] * height[shown]
        axes.barh(middle, values[shown], height[shown], color=color, label=kind)


def _first_known(values: Sequence[float]) -> float:
    return next((value for value in values if not np.isnan(value)), float("nan"))
