"""metrics.csv over interruptions."""

from __future__ import annotations

import csv
import os
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, which goes on with the file of a run that is resumed.

    Args:
        goes_on_at: the optimizer step at which the run is resumed: rows from that step on are dropped, since they come
            again. None: the run begins, and so does the file.
        **kwargs: see Lightning's ``CSVLogger``.
    """

    def __init__(self, goes_on_at: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._goes_on_at = goes_on_at

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _ContinuedWriter(self.log_dir, self._goes_on_at or 0)  # type: ignore[assignment]
        return self._experiment

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The run's own config.yaml says it all."""


class _ContinuedWriter(_ExperimentWriter):
    def __init__(self, log_dir: str, goes_on_at: int) -> None:
        self._goes_on_at = goes_on_at
        self._old: list[dict[str, Any]] = []
        super().__init__(log_dir)

    def _check_log_dir_exists(self) -> None:
        """Lightning deletes what is there; here it is read first."""
        if not os.path.isfile(self.metrics_file_path):
            return
        with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
            rows = [{k: v for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(file)]
        self._old = [row for row in rows if int(row["step"]) < self._goes_on_at]

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics_dict, step)
        if os.path.isfile(self.metrics_file_path) and not self.metrics_keys:
            self._take_over(self.metrics.pop())

    def _take_over(self, first: dict[str, Any]) -> None:
        """Writes the old rows anew, without one that says what the first new one says."""
        known = {(int(row["step"]), name) for row in [first] for name in row.keys() - {"step", "epoch"}}
        self.metrics = [row for row in self._old if not any((int(row["step"]), name) in known for name in row)]
        self.metrics.append(first)
        os.unlink(self.metrics_file_path)
        self.save()
