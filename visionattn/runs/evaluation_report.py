"""``report.html`` of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionattn.errors import counted
from visionattn.reports import Change, Differences, Facts, Panels, Report, Table
from visionattn.reports.sections import Column
from visionattn.runs import page
from visionattn.runs.build import Run
from visionattn.runs.measures import sections
from visionattn.runs.talking import rate_in_words
from visionattn.tasks.statistics import in_words, statistics

_FIRST = 4
"""Figures at the top of the page; the table has them all."""


def write_evaluation(run: Run, result: Mapping[str, Any], facts: Mapping[str, Any], file: Path, seed: int) -> None:
    """Write the page of an evaluation that has run.

    Args:
        run: what was evaluated.
        result: contents of ``result.json``, see :func:`visionattn.runs.result.result_of`.
        facts: where the weights come from, and what is scored how.
        file: the page.
        seed: of the evaluation.
    """
    _report(run, result, facts, seed, file.parent).write(file)


def _report(run: Run, result: Mapping[str, Any], facts: Mapping[str, Any], seed: int, folder: Path) -> Report:
    metrics = {name: value for name, value in result["metrics"].items() if value is not None}
    shown = [name for one in run.task.evaluators.values() for name in one.shown]
    first = list(dict.fromkeys(name for name in (run.task.monitor.removeprefix("val/"), *shown, *metrics)))
    headline = {name: f"{metrics[name]:.2f}" for name in [name for name in first if name in metrics][:_FIRST]}
    headline["images"] = f"{result['num_samples']:,}"
    headline["images/s"] = rate_in_words(result["images_per_second"])
    kind = type(run.task).__name__.removesuffix("Task")
    report = Report(
        f"Evaluation of {'/'.join(Path(str(facts.get('checkpoint') or facts['backbone'])).parts[-3:])}",
        f"{kind} on the {in_words(result['split'])} images, {counted(result['classes'], 'class', 'classes')}",
        command=result["command"],
        headline=headline,
        links={path.name: path.name for path in (folder / "result.json", folder / "plots") if path.exists()},
    )
    report.add(*run.observer.sections(run.data), *statistics(run.data, run.observer.noun))
    columns = [Column("figure"), Column("value", digits=4)]
    report.add(Table("Figures", columns, list(result["metrics"].items()), " ".join(f"{n}." for n in result["notes"])))
    report.add(*sections(result["measures"]))
    changes = {key: Change(one["evaluation"], one["training"]) for key, one in result["not_as_in_training"].items()}
    report.add(Differences("Unlike the training", changes, usual="training"))
    resources = page.memory_facts(run.trainer.strategy.root_device)
    scored = Facts("What was scored", {name: str(value) for name, value in facts.items()} | resources)
    return report.add(Panels("Run", [scored, Facts("Machine and versions", page.environment(seed))]))
