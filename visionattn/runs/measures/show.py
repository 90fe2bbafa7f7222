"""Measures as tables: on the screen, and as sections of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as ScreenTable

from visionattn.data.corruptions import SEVERITIES
from visionattn.reports import Curves, Panels, Section, Table


@dataclass(frozen=True)
class _Shown:
    """A table of numbers, with a note."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    note: str = ""


def print_measures(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table of each measure."""
    for shown in map(_shown, found, found.values()):
        table = ScreenTable(title=shown.title, title_justify="left", title_style="bold")
        for place, name in enumerate(shown.columns):
            table.add_column(name, justify="right" if place else "left")
        for row in shown.rows:
            table.add_row(*(_text(value) for value in row))
        console = Console()
        console.print(table)
        if shown.note:
            console.print(f"  {shown.note}", highlight=False)


def _text(value: str | float | None) -> str:
    return value if isinstance(value, str) else "-" if value is None else f"{value:.2f}"


def sections(found: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """The same for a report, with a curve where there is one to draw."""
    made: list[Section] = []
    for name, one in found.items():
        shown = _shown(name, one)
        table = Table(shown.title, list(shown.columns), [list(row) for row in shown.rows], shown.note)
        curve = _curve(name, one)
        made.append(Panels(shown.title, [curve, table]) if curve else table)
    return made


def _curve(name: str, found: Mapping[str, Any]) -> Curves | None:
    if name == "sizes":
        rows = [row for row in found["sizes"] if row["metrics"].get(found["metric"]) is not None]
        points = [row["factor"] for row in rows], [row["metrics"][found["metric"]] for row in rows]
        return Curves("Against the size", {found["metric"]: points}, "image size, times that of the evaluation", "")
    if name == "corruptions":
        lines = {kind: (list(SEVERITIES), values) for kind, values in found["kinds"].items()}
        return Curves("Against the severity", lines, "severity", "accuracy (%)")
    return None


def _shown(name: str, found: Mapping[str, Any]) -> _Shown:
    if name == "sizes":
        rows = [
            (f"{row['factor']:g}x", "x".join(map(str, row["size"])), row["metrics"].get(found["metric"]))
            for row in found["sizes"]
        ]
        return _Shown("Other image sizes", ("factor", "pixels", found["metric"]), rows)
    if name == "shifts":
        crops = [("two of one image agree", float(found["consistency"])), ("right", float(found["accuracy"]))]
        note = f"crops up to {' and '.join(map(str, found['largest_shift']))} pixels apart, {found['images']:,} images"
        return _Shown("Shifts", ("crops", "%"), crops, note)
    kinds = [(kind, *values, sum(values) / len(values)) for kind, values in found["kinds"].items()]
    note = (
        f"accuracy in %: {found['clean']:.2f} without corruption, {found['mean']:.2f} on average with; {found['note']}"
    )
    return _Shown("Corruptions", ("kind", *map(str, SEVERITIES), "mean"), kinds, note)
