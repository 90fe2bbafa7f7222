"""Charts: curves, bars, and matrices of counts.

Shapes: P points, R C rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from visionattn.reports.embedding import Embedding
from visionattn.reports.sections import told

MOST_POINTS = 400
"""Points of a curve in a file; a curve with more is the mean of as many parts, over a band from least to most."""
_WRITTEN = 24  # rows or columns: up to here a matrix has its counts written


@dataclass(frozen=True)
class Series:
    """A curve.

    Attributes:
        x, y: ``(P,)``.
        low, high: ``(P,)``, the edges of a band around it; None: there is none.
    """

    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None


@dataclass(frozen=True)
class Curves:
    """Curves over one axis: the pointer or the arrow keys show values, a name in the legend switches a curve.

    Attributes:
        series: name -> :class:`Series`, or x and y.
        log: ``x``, ``y`` or ``xy``: these axes are logarithmic.
        x_range, y_range: least and largest value of an axis; None: from the data.
        step: curves are drawn with a marker at each point only where there are few of them.
    """

    title: str
    series: Mapping[str, Series | tuple[Any, Any]]
    x_label: str = ""
    y_label: str = ""
    note: str = ""
    log: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    kind: ClassVar[str] = "curves"

    def view(self, images: Embedding) -> dict[str, Any]:
        given = {name: one if isinstance(one, Series) else Series(*one) for name, one in self.series.items()}
        curves = [{"name": name, **_points(one)} for name, one in given.items() if len(one.x)]
        axes = {"x": self.x_label, "y": self.y_label, "log": self.log, "xr": self.x_range, "yr": self.y_range}
        rows = [
            (name, told(float(one.x[-1])), told(float(one.y[-1])), _least(one.y), _most(one.y))
            for name, one in given.items()
            if len(one.x)
        ]
        return {"data": {"curves": curves, **axes}, "rows": rows}


@dataclass(frozen=True)
class Bars:
    """Bars from left to right, one or several per name.

    Attributes:
        bars: name -> value, or name -> group -> value.
        digits: after the point.
        unit: behind the values.
        top: the value of a whole bar; None: the largest.
    """

    title: str
    bars: Mapping[str, float | Mapping[str, float]]
    note: str = ""
    digits: int = 0
    unit: str = ""
    top: float | None = None
    kind: ClassVar[str] = "bars"

    def view(self, images: Embedding) -> dict[str, Any]:
        groups: dict[str, Mapping[str, float]] = {
            name: dict(value) if isinstance(value, Mapping) else {"": value} for name, value in self.bars.items()
        }
        names = list(dict.fromkeys(name for group in groups.values() for name in group))
        values = [value for group in groups.values() for value in group.values() if np.isfinite(value)]
        top = self.top if self.top is not None else max(values, default=0.0)
        rows = []
        for name, group in groups.items():
            bars = [(names.index(one), *self._bar(group[one], top)) for one in names if one in group]
            rows.append((name, bars))
        room = max((len(text) for _, bars in rows for *_, text in bars), default=0)
        return {"groups": [name for name in names if name], "rows": rows, "room": room}

    def _bar(self, value: float, top: float) -> tuple[float, str]:
        length = min(max(value / top, 0.0), 1.0) if top > 0 and np.isfinite(value) else 0.0
        return length, f"{value:,.{self.digits}f}{self.unit}" if np.isfinite(value) else told(None)


@dataclass(frozen=True)
class Matrix:
    """Counts of rows by columns, shaded by their share of the row; the pointer tells names and count.

    Attributes:
        counts: ``(R, C)``, not negative.
        rows, columns: names.
        row_label, column_label: what rows and columns are.
        named: how many of the largest counts off the diagonal are listed beside it.
    """

    title: str
    counts: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    row_label: str = "target"
    column_label: str = "predicted"
    note: str = ""
    named: int = 10
    kind: ClassVar[str] = "matrix"

    def view(self, images: Embedding) -> dict[str, Any]:
        counts = np.asarray(self.counts)
        if counts.shape != (len(self.rows), len(self.columns)):
            raise ValueError(
                f"matrix {self.title!r} of {counts.shape} has {len(self.rows)} x {len(self.columns)} names"
            )
        totals = counts.sum(1)
        share = counts / np.maximum(totals[:, None], 1)
        written = max(counts.shape) <= _WRITTEN
        cells = None
        if written:
            cells = [
                [(short(int(n)), int(n), round(100 * float(s), 2)) for n, s in zip(*of, strict=True)]
                for of in zip(counts, share, strict=True)
            ]
        image = None if written else images.shades(np.ceil(255 * np.sqrt(share)).astype(np.uint8))
        data = None if written else {"rows": list(self.rows), "columns": list(self.columns), "totals": totals.tolist()}
        return {"cells": cells, "image": image, "data": data, "largest": self._largest(counts, totals)}

    def _largest(self, counts: np.ndarray, totals: np.ndarray) -> list[tuple[str, str, int, float]]:
        """The most frequent confusions: names, count, and share of the row in percent."""
        off = counts.copy()
        np.fill_diagonal(off, 0)
        order = np.argsort(-off, axis=None, kind="stable")[: self.named]
        places = [divmod(int(index), counts.shape[1]) for index in order]
        return [
            (str(self.rows[r]), str(self.columns[c]), int(off[r, c]), 100 * float(off[r, c] / totals[r]))
            for r, c in places
            if off[r, c] > 0
        ]


def short(number: int) -> str:
    """A count in at most five characters; empty for zero."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if number >= size:
            return f"{number / (10**3 if letter == 'k' else size):.0f}{letter}"
    return str(number) if number else ""


def _points(series: Series) -> dict[str, list[float | None]]:
    """The points of a curve, few enough for a file; None where a value is not finite."""
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    low, high = (None if edge is None else np.asarray(edge, np.float64) for edge in (series.low, series.high))
    if len(x) > MOST_POINTS:
        starts = np.linspace(0, len(x), MOST_POINTS + 1).astype(int)[:-1]
        counts = np.diff([*starts, len(x)])
        low = np.minimum.reduceat(y if low is None else low, starts)
        high = np.maximum.reduceat(y if high is None else high, starts)
        x, y = (np.add.reduceat(values, starts) / counts for values in (x, y))
    points = {"x": _plain(x), "y": _plain(y)}
    if low is not None and high is not None:
        points |= {"low": _plain(low), "high": _plain(high)}
    return points


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers with six digits; None where there is none."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _least(values: Any) -> str:
    finite = np.asarray(values, np.float64)
    return told(float(np.nanmin(finite)) if np.isfinite(finite).any() else None)


def _most(values: Any) -> str:
    finite = np.asarray(values, np.float64)
    return told(float(np.nanmax(finite)) if np.isfinite(finite).any() else None)
