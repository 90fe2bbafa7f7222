"""``report.html`` of a training, written anew at every validation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from visionattn.config.messages import one_line
from visionattn.reports import Change, Differences, Facts, Panels, Report, Section
from visionattn.runs import page
from visionattn.runs.build import Run
from visionattn.runs.description import what_is_trained
from visionattn.runs.folder import REPORT, TRAIN_LOG
from visionattn.runs.report import results_of
from visionattn.runs.table import Figure
from visionattn.runs.talking import duration
from visionattn.tasks.pictures import undrawn_explained
from visionattn.tasks.statistics import statistics
from visionattn.training.callbacks import name_of_epoch

REFRESH = 30
"""Seconds after which the page of a running training loads itself again."""
SHARE = 0.02
"""Most of a training's time that its report takes: after one that took a second, the next waits for 50."""


class LiveReport(Callback):
    """A callback that writes the page of a training at every validation; a failure is one line, and ends nothing.

    Args:
        cfg: of the run.
        run: what is trained.
        run_dir: where the page goes.
        command: as it was typed.
        facts: of the model, for the table of results.
        changes: what differs from the recipe.
    """

    def __init__(
        self,
        cfg: DictConfig,
        run: Run,
        run_dir: Path,
        command: str,
        facts: Mapping[str, Any],
        changes: Mapping[str, Change],
    ) -> None:
        self._cfg, self._run, self._path, self._command = cfg, run, run_dir / REPORT, command
        self._facts, self._changes = facts, changes
        self._since, self._next, self._took = time.perf_counter(), 0.0, 0.0

    def attached(self) -> LiveReport:
        """Take part in the training, as the last callback: the checkpoints are written before."""
        callbacks: list[Callback] = self._run.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.append(self)
        return self

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or time.perf_counter() < self._next:
            return
        results = results_of(self._run, self._facts, time.perf_counter() - self._since)
        self._write(results, f"training, {name_of_epoch(trainer, trainer.current_epoch).lower()}", REFRESH)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._path.is_file():
            results = results_of(self._run, self._facts, time.perf_counter() - self._since)
            self._write(results, f"ended by {type(exception).__name__}: {one_line(exception)}", 0)

    def finish(self, results: Mapping[str, Any]) -> Path | None:
        """Write the page of a training that is over.

        Args:
            results: see :func:`visionattn.runs.report.results_of`.

        Returns:
            The page; None where it could not be written.
        """
        stopped = results.get("stopped by")
        return self._write(results, f"stopped by {stopped}" if stopped else "", 0)

    def _write(self, results: Mapping[str, Any], status: str, refresh: int) -> Path | None:
        since, written = time.perf_counter(), None
        with undrawn_explained(f"report in {self._path}"):
            written = self._report(results, status, refresh).write(self._path)
        now = time.perf_counter()
        self._took = now - since
        self._next = now + self._took * (1 / SHARE - 1)
        return written

    def _report(self, results: Mapping[str, Any], status: str, refresh: int) -> Report:
        run, about, series = self._run, what_is_trained(self._cfg), page.logged(self._path.parent)
        report = Report(
            str(self._cfg.name),
            "; ".join(about[name] for name in ("task", "backbone", "data set")),
            command=self._command,
            headline=self._headline(results, series),
            links=self._links(),
            status=status,
            refresh=refresh,
        )
        shown = [f"val/{name}" for one in run.task.evaluators.values() for name in one.shown]
        monitored = [run.task.monitor] if run.task.monitor != "val/loss" else []
        report.add(*page.curves(series, list(dict.fromkeys([*monitored, *shown]))))
        if run.task.validated is not None:
            report.add(*run.observer.sections(run.data))
        report.add(*self._statistics, *page.figures_table(series))
        report.add(Differences("Configuration", self._changes, self._everything))
        cost = {"writing this report, the time before": f"{self._took:.2f} s"} if self._took else {}
        resources = {**results, **page.memory_facts(run.trainer.strategy.root_device), **cost}
        made_of = Facts("Model and machine", {**about, **self._environment})
        return report.add(Panels("Run", [Facts("Results, time and memory", resources), made_of]))

    def _headline(self, results: Mapping[str, Any], series: page.Series) -> dict[str, str]:
        """The few figures that a reader wants first."""
        task, trainer = self._run.task, self._run.trainer
        figures: dict[str, Any] = {}
        if points := series.get(task.monitor):
            values = [value for _, value in points]
            best = max(values) if task.monitor_mode == "max" else min(values)
            figures[task.monitor.removeprefix("val/")], figures["best"] = f"{values[-1]:.2f}", f"{best:.2f}"
        if points := series.get("train/loss"):
            figures["training loss"] = f"{points[-1][1]:.4g}"
        epochs = trainer.current_epoch + (trainer.state.status == "running")
        figures["epoch"] = f"{epochs} of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else str(epochs)
        texts = {name: str(value) for name, value in results.items()}
        parameters = self._facts.get("parameters")
        if isinstance(parameters, Figure):
            figures["parameters"] = page.short_count(parameters.value)
        if "images/s training" in texts:
            figures["training images/s"] = texts["images/s training"]
        figures["time"] = duration(time.perf_counter() - self._since)
        return figures

    def _links(self) -> dict[str, str]:
        names = ("config.yaml", "metrics.csv", TRAIN_LOG, "plots", "checkpoints")
        return {name: name for name in names if (self._path.parent / name).exists()}

    @cached_property
    def _statistics(self) -> list[Section]:
        return statistics(self._run.data, self._run.observer.noun)

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return page.environment(self._cfg.seed)

    @cached_property
    def _everything(self) -> dict[str, Any]:
        return page.flat(self._cfg)
