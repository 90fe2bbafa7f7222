"""Figures of Matplotlib, imported with the first of them: a command that draws nothing does not wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


def empty_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def color_map(name: str) -> Colormap:
    """A color map by Matplotlib's name."""
    from matplotlib import colormaps

    return colormaps[name]
