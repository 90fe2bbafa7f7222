"""The table of a sweep: what differs between the jobs, their figures, and how each ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionattn.files import write_rows, write_whole

Row = dict[str, Any]
_METRICS = 6
_WIDTH = 80


def differing(outcomes: Sequence[Row]) -> list[list[str]]:
    """For each job its overrides that not all jobs have, with the part of the keys cut off that all share.

    ``mixer@backbone.mixers.s1=window`` and its siblings become ``s1=window``; one choice for all stages stays one.
    """
    words = [list(one["overrides"]) for one in outcomes]
    shared = set.intersection(*map(set, words)) if len(words) > 1 else set()
    own = [[word for word in job if word not in shared] for job in words]
    keys = list(dict.fromkeys(word.partition("=")[0] for job in own for word in job))
    short = dict(zip(keys, shortened(keys), strict=True))
    return [_joined([(short[key], value) for key, _, value in (word.partition("=") for word in job)]) for job in own]


def shortened(keys: Sequence[str]) -> list[str]:
    """The keys as their shortest tails that still differ."""
    tails = [key.rpartition("@")[2].lstrip("+~") for key in keys]
    for length in range(1, 1 + max((tail.count(".") + 1 for tail in tails), default=0)):
        cut = [".".join(tail.split(".")[-length:]) for tail in tails]
        if len(set(cut)) == len(set(keys)):
            return cut
    return list(keys)


def _joined(words: Sequence[tuple[str, str]]) -> list[str]:
    """``s1=window, s2=window`` as ``s1,s2=window``."""
    values: dict[str, list[str]] = {}
    for key, value in words:
        values.setdefault(value, []).append(key)
    return [f"{','.join(keys)}={value}" for value, keys in values.items()]


def table(outcomes: Sequence[Row], separator: str = " ") -> tuple[list[str], list[list[Any]]]:
    """Titles and rows: number, choices, metrics, seconds, outcome."""
    found = (name for one in outcomes for name, value in (one["results"] or {}).items() if _is_metric(name, value))
    metrics = sorted(dict.fromkeys(found), key=lambda name: "loss" in name)  # scores first
    if not metrics:
        every = (name for one in outcomes for name, value in (one["results"] or {}).items() if _number(value))
        metrics = list(dict.fromkeys(every))[:_METRICS]
    rows = []
    for one, choices in zip(outcomes, differing(outcomes), strict=True):
        results = one["results"] or {}
        outcome = f"failed: {one['error']}" if one["error"] else "done"
        rows.append([one["number"], separator.join(choices), *map(results.get, metrics), one["seconds"], outcome])
    return ["job", "choices", *metrics, "seconds", "outcome"], rows


def write_table(outcomes: Sequence[Row], folder: Path) -> list[Path]:
    """Write ``sweep.csv`` with all figures in full, and ``sweep.md``; return both."""
    titles, rows = table(outcomes)
    lines = [f"# {folder.name}", ""]
    lines += ["| " + " | ".join(titles) + " |", "| " + " | ".join("---" for _ in titles) + " |"]
    lines += ["| " + " | ".join(shown(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    shared = set.intersection(*(set(one["overrides"]) for one in outcomes)) if len(outcomes) > 1 else set()
    if shared:
        lines += ["", f"All jobs: `{shlex.join(sorted(shared))}`"]
    csv = write_rows(folder / "sweep.csv", [titles, *rows])
    return [csv, write_whole(folder / "sweep.md", "\n".join(lines) + "\n")]


def print_table(outcomes: Sequence[Row], folder: Path) -> None:
    """Print the table: the choices in full, and as many metrics as there is room for."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    titles, rows = table(outcomes, "\n")
    shown_rows = [[shown(cell) for cell in row] for row in rows]
    parts = [[title, *(part for row in shown_rows for part in row[i].split("\n"))] for i, title in enumerate(titles)]
    widths = [max(map(len, column)) + 3 for column in parts]
    room = max(console.width, _WIDTH) - widths[0] - widths[1] - widths[-2] - min(widths[-1], 23)
    metrics = range(2, len(titles) - 2)
    kept = [i for i in metrics if sum(widths[j] for j in metrics if j <= i) <= room]
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    columns = [0, 1, *kept, len(titles) - 2, len(titles) - 1]
    for i in columns:
        left = titles[i] in ("choices", "outcome")
        grid.add_column(titles[i], justify="left" if left else "right", no_wrap=i < len(titles) - 1, overflow="fold")
    for row in shown_rows:
        style = "green" if row[-1] == "done" else "red"
        grid.add_row(*(Text(row[i], style=style if i == len(titles) - 1 else "") for i in columns))
    console.print(grid)
    if len(kept) < len(metrics):
        print(f"{len(metrics) - len(kept)} more columns in {folder / 'sweep.csv'}")


def shown(cell: Any) -> str:
    """A cell as text: four digits of a number."""
    if isinstance(cell, bool) or not _number(cell):
        return "" if cell is None else str(cell)
    return str(cell) if isinstance(cell, int) else f"{cell:.4g}"


def _is_metric(name: str, value: Any) -> bool:
    return _number(value) and "/" in name and not name.startswith("images/s")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
