"""The rows of a benchmark: a table on the screen; JSON and CSV on disk, with hardware, versions and configuration."""

from __future__ import annotations

import csv
import io
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

from visionattn.files import write_whole
from visionattn.runs import provenance
from visionattn.runs.table import print_whole

Row = dict[str, Any]
RESULTS = "benchmarks/results"
_TEXT_COLUMNS = ("backbone", "case", "device", "loader", "method", "model", "pass", "precision", "recipe", "type")

_SETTINGS = ("batch", "device", "precision", "size", "type", "workers")


def choose_device(name: str | None) -> torch.device:
    """The device of this name; None: CUDA where it is available, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


class RowFile:
    """``<name>_<device>_<time>.json`` with everything and ``.csv`` with the rows of a run.

    Both are written anew with all rows whenever some are added, so that a run that is cut off loses nothing.

    Args:
        output_dir: their folder; None: nothing is written.
        name: of the benchmark.
        device: that is measured.
        configuration: what a file records beside the rows.
    """

    def __init__(
        self, output_dir: str | Path | None, name: str, device: torch.device, configuration: dict[str, Any]
    ) -> None:
        self.rows: list[Row] = []
        self.configuration = dict(configuration)
        self.paths: list[Path] = []
        if output_dir is None:
            return
        folder, moment = Path(output_dir), datetime.now(UTC)
        folder.mkdir(parents=True, exist_ok=True)
        properties = provenance.device_properties(device)
        label = re.sub(r"[^A-Za-z0-9]+", "-", properties["name"]).strip("-").lower()
        stem = f"{name}_{label}_{moment:%Y%m%d-%H%M%S}"
        self.paths = [folder / f"{stem}.json", folder / f"{stem}.csv"]
        time = moment.isoformat(timespec="seconds")
        self._facts = {"time": time, "hardware": properties, "versions": provenance.versions()}

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows and write the files."""
        self.rows += rows
        if not self.paths:
            return
        document = self._facts | {"configuration": self.configuration, "rows": self.rows}
        write_whole(self.paths[0], json.dumps(document, indent=1) + "\n")
        table = io.StringIO(newline="")
        writer = csv.DictWriter(
            table, list(dict.fromkeys(key for row in self.rows for key in row)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.paths[1], table.getvalue())

    def close(self, console: Console | None = None, **facts: Any) -> None:
        """Write the files with further ``facts`` in the configuration, and print their paths."""
        self.configuration |= facts
        self.add([])
        for path in self.paths:
            (console or Console()).print(f"  rows: [cyan]{path}[/cyan]", soft_wrap=True)


def save(
    rows: list[Row], output_dir: str | Path | None, name: str, device: torch.device, configuration: dict[str, Any]
) -> None:
    """Write all rows of a run, see :class:`RowFile`, and print the paths; nothing where ``output_dir`` is None."""
    file = RowFile(output_dir, name, device, configuration)
    file.add(rows)
    file.close()


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
