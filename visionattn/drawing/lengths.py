"""The plot of time and memory against the side of the map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from visionattn.drawing.figures import color_map, empty_figure

_MARKS = "osv^D"


def plot_lengths(
    series: Mapping[str, Mapping[str, Mapping[int, tuple[float, float]]]],
    output: Path,
    *,
    side: str = "side of the map (tokens)",
    labels: tuple[str, str] = ("milliseconds", "MB at the peak"),
) -> None:
    """Plot milliseconds and megabytes on logarithmic axes; a row for each pass. The first mixer is drawn in black.

    Args:
        series: pass -> mixer -> side -> (milliseconds, bytes).
        output: the file.
        side: what the sides are those of.
        labels: of the two values, the second in millions.
    """
    figure = empty_figure(11, 4.2 * len(series))
    grid = figure.subplots(len(series), 2, squeeze=False)
    colors = color_map("tab20").colors  # type: ignore[attr-defined]
    for row, (kind, mixers) in zip(grid, series.items(), strict=True):
        for number, (name, points) in enumerate(mixers.items()):
            sides = sorted(points)
            look = {"color": "black", "linewidth": 2.5} if number == 0 else {"color": colors[number % len(colors)]}
            for place, axes in enumerate(row):
                values = [points[at][place] / (1 if place == 0 else 1e6) for at in sides]
                axes.plot(sides, values, label=name, marker=_MARKS[number % len(_MARKS)], markersize=4, **look)
        for axes, label in zip(row, labels, strict=True):
            axes.set(xscale="log", yscale="log", xlabel=side, ylabel=label, title=kind)
            axes.set_xticks(sides, [str(at) for at in sides])
            axes.minorticks_off()
            axes.grid(alpha=0.25)
        row[1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(output, dpi=110)
