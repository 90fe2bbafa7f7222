"""The report of a training: on the terminal while it runs, and in its folder when it is done."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from visionattn.data import VisionData
from visionattn.drawing.plots import plot_curves
from visionattn.files import write_whole
from visionattn.runs import provenance
from visionattn.runs.build import Run
from visionattn.runs.description import what_is_trained
from visionattn.runs.resume import RESULTS, Resumption, end_of
from visionattn.runs.table import Figure, print_results, relative, values_of
from visionattn.runs.talking import duration, rate_in_words
from visionattn.runs.trainer import profile_files
from visionattn.tasks.observer import PLOTS, drawn
from visionattn.tasks.pictures import warn_undrawn
from visionattn.training.checkpoints import LastCheckpoint, set_aside
from visionattn.training.ending import EARLY, stopped_by, why_unvalidated


def begin(cfg: DictConfig, run_dir: Path, resumed: Resumption, notices: Iterable[str]) -> None:
    """Write the configuration into the run's folder, and print where it resumes."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_whole(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    _tell_resumed(resumed, notices)


def _tell_resumed(resumed: Resumption, notices: Iterable[str]) -> None:
    """Print where a run resumes, and set damaged checkpoints aside."""
    for path, fault in resumed.damaged.items():
        Console(stderr=True).print(f"{path} is damaged ({fault}); the previous one is used", soft_wrap=True)
        set_aside(path)
    if resumed.run:
        progress = resumed.run.contents["position"]
        epoch, batch = progress["epoch"] + 1, progress["batch"]
        where = f"epoch {epoch}, batch {batch}" if batch else f"the start of epoch {epoch}"
        Console().print(f"resumes from {relative(resumed.run.path)}: {where}, step {progress['step']}", soft_wrap=True)
    for notice in notices:
        Console().print(f"  changed since: {notice}", soft_wrap=True)


def results_of(run: Run, facts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The figures of a training: numbers for ``results.json``, with the texts of the final table.

    The metrics of the latest validation come under their own names, so that a sweep can compare and optimize them.
    """
    trainer, task = run.trainer, run.task
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    results: dict[str, Any] = {name: Figure(value, f"{value:.2f}") for name, value in sorted(metrics.items())}
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
            best = float(callback.best_model_score)
            results[f"{task.monitor} (best, chosen on these images)"] = Figure(best, f"{best:.2f}")
            break
    if task.validated is None:
        results["validation"] = Figure(None, f"none: {why_unvalidated(trainer)}")
    if stopped := stopped_by(trainer):
        advice = "" if stopped == EARLY else "; not finished: the same command with resume=auto continues it"
        results["stopped by"] = Figure(stopped, f"{stopped}{advice}")
    if run.talking is not None and run.talking.loss is not None:
        results["train/loss"] = Figure(run.talking.loss, f"{run.talking.loss:.4g}")
    results |= facts
    if task.compiling.regions:
        told = f"{task.compiling.describe()}: {task.compiling.outcome()}"
        results["compiled"] = Figure(task.compiling.facts(), told)
        if run.talking is not None and run.talking.first_step is not None:
            results["first step"] = Figure(run.talking.first_step, duration(run.talking.first_step))
    for name, phase in (("training", "train"), ("validation", "val")):
        rate = run.stopwatch.rate(phase)
        if rate:
            results[f"images/s {name}"] = Figure(rate, rate_in_words(rate))
    results["seconds"] = Figure(seconds, duration(seconds))
    results["epochs"], results["steps"] = trainer.current_epoch, trainer.global_step
    return results


def write_report(
    cfg: DictConfig,
    run: Run,
    run_dir: Path,
    command: str,
    results: Mapping[str, Any],
    settings: Iterable[str] = (),
    page: Path | None = None,
) -> None:
    """Write the run's card with its plots, mark the run as finished, and print the final table.

    Args:
        cfg: of the run.
        run: what was trained.
        run_dir: where everything goes.
        command: as it was typed.
        results: see :func:`results_of`.
        settings: lines that say where the values come from, for the card.
        page: the run's ``report.html``; None: there is none.
    """
    of, stopped = _of_which_epoch(run), stopped_by(run.trainer)
    shown = {f"{name} {of}" if name in run.trainer.callback_metrics else name: results[name] for name in results}
    images, outputs = _draw(run, run_dir), _outputs(run, run_dir, page)
    about = what_is_trained(cfg)
    data = {"data set": about.pop("data set")} | _facts_of(run.data)
    write_card(
        run_dir / "README.md",
        title=_title(str(cfg.name), [about["backbone"], about["task"], data["data set"]]),
        command=command,
        seed=cfg.seed,
        model=about,
        results=shown,
        data=data,
        images=images,
        settings=settings,
        page=page,
    )
    contents = {"end": end_of(cfg), "stopped": stopped, "command": command, "results": values_of(results)}
    write_whole(run_dir / RESULTS, json.dumps(contents, indent=1, default=str) + "\n")
    print_results(f"{cfg.name}: {f'stopped by {stopped}' if stopped else 'done'}", shown, outputs)


def _title(name: str, parts: Sequence[str]) -> str:
    """The parts in one line, after the name of the run where the first, its backbone, does not say it."""
    return "; ".join(parts if name in parts[0] else [name, *parts])


def _facts_of(data: VisionData[Any]) -> dict[str, Any]:
    """Classes, sizes and hashes of the splits."""
    sizes = {f"{split} images": count for split, count in data.sizes.items()}
    return {"classes": data.num_classes, **sizes} | {f"{split} sha256": data.fingerprint(split) for split in data.sizes}


def _of_which_epoch(run: Run) -> str:
    """Which epoch the metrics are of: that of the latest validation need not be the last one."""
    last = run.trainer.current_epoch - 1
    validated = run.task.validated
    return "(last epoch)" if validated is None or validated >= last else f"(epoch {validated + 1} of {last + 1})"


def write_card(
    output: Path,
    *,
    title: str,
    command: str,
    seed: int,
    model: Mapping[str, str],
    results: Mapping[str, Any],
    data: Mapping[str, Any],
    images: Mapping[str, Path],
    settings: Iterable[str] = (),
    page: Path | None = None,
) -> None:
    """Write the card.

    Args:
        output: the file.
        title: first line.
        command: as it was typed.
        seed: of the run.
        model: name -> what was trained: task, backbone with its mixers, weights, recipe.
        results: name -> figure, as in the final table.
        data: name -> figure, sizes and hashes of the splits among them.
        images: caption -> file, linked relative to the card.
        settings: lines that say where the values come from.
        page: the run's ``report.html``, linked at the top; None: there is none.
    """
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    about = {"finished": now, "commit": provenance.commit(), "hardware": provenance.hardware(), "seed": seed}
    lines = [f"# {title}", "", "```", command, "```", ""]
    if page is not None:
        told = "curves, worst and best samples, classes, data and configuration"
        lines += [f"[{page.name}]({page.relative_to(output.parent).as_posix()}) shows {told}.", ""]
    tables = {"Results": results, "Model": model, "Data": data, "Run": about, "Versions": provenance.versions()}
    for heading, rows in tables.items():
        lines += [f"## {heading}", "", "| | |", "| --- | --- |", *(f"| {key} | {rows[key]} |" for key in rows), ""]
    lines += ["## Settings", "", "```", *settings, "```", ""] if settings else []
    for caption, file in images.items():
        lines += [f"![{caption}]({file.relative_to(output.parent).as_posix()})", ""]
    write_whole(output, "\n".join(lines))


def _outputs(run: Run, run_dir: Path, page: Path | None) -> dict[str, Path]:
    """What lies in the run's folder; the list of unreadable images is written here."""
    outputs = {"run": run_dir} | ({} if page is None else {"report": page})
    outputs |= {"card": run_dir / "README.md", "plots": run_dir / "plots"}
    for callback in run.trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            outputs["best checkpoint"] = Path(callback.best_model_path)
        elif isinstance(callback, LastCheckpoint) and callback.path.exists():
            outputs["last checkpoint"] = callback.path
    outputs |= {f"profile {file.name}": file for file in profile_files(run.trainer)}
    budgets = [run.data.budget(split) for split in run.data.sizes]
    if any(budget.records for budget in budgets):
        outputs["images that cannot be read"] = run_dir / "unreadable.json"
        text = json.dumps([budget.as_dict() for budget in budgets], indent=1)
        write_whole(outputs["images that cannot be read"], text + "\n")
    return outputs


def _draw(run: Run, run_dir: Path) -> dict[str, Path]:
    folder, images = run_dir / PLOTS, {}
    if (run_dir / "metrics.csv").is_file():
        try:
            folder.mkdir(exist_ok=True)
            plot_curves(run_dir / "metrics.csv", folder / "curves.png", metric=run.task.monitor)
            images["learning curves"] = folder / "curves.png"
        except OSError as error:
            warn_undrawn(folder, error)
    return images | drawn(run.observer, folder, run.data)
