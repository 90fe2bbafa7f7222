"""The rows of a benchmark: a table on the screen; JSON and CSV on disk, with hardware, versions and configuration."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from visionattn.runs import provenance
from visionattn.runs.table import print_whole

Row = dict[str, Any]
RESULTS = "benchmarks/results"
_TEXT_COLUMNS = ("backbone", "case", "device", "loader", "method", "model", "pass", "precision", "recipe", "type")

_SETTINGS = ("batch", "device", "precision", "size", "type", "workers")


def choose_device(name: str | None) -> torch.device:
    """The device of this name; None: CUDA where it is available, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def write(rows: list[Row], folder: Path, name: str, device: torch.device, configuration: dict[str, Any]) -> list[Path]:
    """Write ``<name>_<device>_<time>.json`` with everything and ``.csv`` with the rows; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    properties = provenance.device_properties(device)
    label = re.sub(r"[^A-Za-z0-9]+", "-", properties["name"]).strip("-").lower()
    moment = datetime.now(UTC)
    stem = folder / f"{name}_{label}_{moment:%Y%m%d-%H%M%S}"
    document = {
        "time": moment.isoformat(timespec="seconds"),
        "hardware": properties,
        "versions": provenance.versions(),
        "configuration": configuration,
        "rows": rows,
    }
    paths = [stem.with_suffix(".json"), stem.with_suffix(".csv")]
    paths[0].write_text(json.dumps(document, indent=1) + "\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return paths


def save(
    rows: list[Row],
    output_dir: str | Path | None,
    name: str,
    device: torch.device,
    configuration: dict[str, Any],
    console: Console | None = None,
) -> None:
    """Write the rows, see :func:`write`, and print the paths; nothing where ``output_dir`` is None."""
    if output_dir is not None:
        for path in write(rows, Path(output_dir), name, device, configuration):
            (console or Console()).print(f"  rows: [cyan]{path}[/cyan]", soft_wrap=True)


def show(
    headings: Sequence[str], cells: Iterable[Sequence[str]], title: str | None = None, console: Console | None = None
) -> None:
    """Print a table; columns of numbers are aligned to the right.

    Where it does not fit, settings that all rows share stand in the title.
    """
    console, rows = console or Console(), [list(row) for row in cells]
    table = _table(headings, rows, title)
    if Measurement.get(console, console.options.update(max_width=10_000), table).maximum > console.width:
        shared = [i for i, name in enumerate(headings) if name in _SETTINGS and len({row[i] for row in rows}) == 1]
        told = ", ".join([*([title] if title else []), *(f"{headings[i]} {rows[0][i]}" for i in shared)])
        kept = [i for i in range(len(headings)) if i not in shared]
        table = _table([headings[i] for i in kept], [[row[i] for i in kept] for row in rows], told)
    print_whole(table, console)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        text = heading in _TEXT_COLUMNS
        table.add_column(heading, justify="left" if text else "right", no_wrap=not text)
    for row in rows:
        table.add_row(*row)
    return table
