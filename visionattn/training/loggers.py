"""metrics.csv over interruptions."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from visionattn.files import write_rows
from visionattn.training.writing import writing

Row = dict[str, Any]


class MetricsFile(Logger):
    """A logger that writes ``metrics.csv``, and continues the file of a run that is resumed.

    Every row has the columns ``step`` and ``epoch``. A metric that appears for the first time adds its column to the
    rows before it, where it stays empty.

    Args:
        save_dir: folder of the run.
        goes_on_at: the optimizer step at which the run is resumed: rows from that step on are dropped, since they come
            again. None: the run begins, and so does the file.
        name: folder below ``save_dir``; empty for none.
        version: folder below that; empty for none.
        flush_logs_every_n_steps: no longer read, since every row is written at once; configurations of before have it.
    """

    def __init__(
        self,
        save_dir: str,
        goes_on_at: int | None = None,
        name: str = "",
        version: str = "",
        flush_logs_every_n_steps: int = 50,
    ) -> None:
        super().__init__()
        self._save_dir, self._name, self._version = save_dir, name, version
        self._goes_on_at = goes_on_at
        self._columns: list[str] = []
        self._waiting: list[Row] = []
        self._begun = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._version

    @property
    def save_dir(self) -> str:
        return self._save_dir

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._save_dir, self._name, self._version, "metrics.csv")

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` in the run's folder has all of them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._waiting.append({name: float(value) for name, value in metrics.items()} | {"step": step or 0})
        if "epoch" in metrics:
            self._waiting[-1]["epoch"] = int(metrics["epoch"])

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that wait."""
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        if not self._begun:
            rows = [*self._rows_before(rows[0]), *rows]
        columns = sorted({*self._columns, *(name for row in rows for name in row)})
        fresh = not self._begun
        if columns != self._columns and self._begun:
            rows, fresh = [*_read(self.path), *rows], True
        self._columns, self._begun = columns, True
        with writing(self.path):
            self._write(rows, columns, fresh)

    def _write(self, rows: list[Row], columns: list[str], fresh: bool) -> None:
        """Append rows, or write the whole file anew beside the old one, which stays where that fails."""
        cells = [[row.get(name, "") for name in columns] for row in rows]
        if fresh:
            write_rows(self.path, [columns, *cells])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(cells)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _rows_before(self, first: Row) -> list[Row]:
        """Rows of the run before it was cut off, without those that the first new row repeats."""
        if self._goes_on_at is None or not self.path.is_file():
            return []
        rows = [row for row in _read(self.path) if int(row["step"]) < self._goes_on_at]
        repeated = first.keys() - {"step", "epoch"}
        return [row for row in rows if int(row["step"]) != first["step"] or not repeated & row.keys()]


def _read(path: Path) -> list[Row]:
    """Rows of a file, without their empty cells."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if value not in ("", None)} for row in csv.DictReader(file)]
