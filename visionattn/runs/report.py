"""The report of a training: on the terminal while it runs, and in its folder when it is done."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from visionattn.drawing.plots import plot_curves
from visionattn.errors import counted
from visionattn.runs import provenance
from visionattn.runs.build import Run
from visionattn.runs.resume import RESULTS, Resumption, end_of
from visionattn.runs.table import print_results, relative
from visionattn.training.checkpoints import LastCheckpoint, set_aside


def begin(
    cfg: DictConfig, run_dir: Path, facts: Mapping[str, str], resumed: Resumption, notices: Iterable[str]
) -> None:
    """Write the configuration into the run's folder, and print what is trained and where it resumes."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    Console().print(
        f"training [bold]{cfg.name}[/bold], {facts['parameters']} parameters, into {relative(run_dir)}", soft_wrap=True
    )
    Console().print(
        f"images per step {facts['images per step']}; learning rate {facts['learning rate']}", soft_wrap=True
    )
    _tell_resumed(resumed, notices)


def _tell_resumed(resumed: Resumption, notices: Iterable[str]) -> None:
    """Print where a run resumes, and set damaged checkpoints aside."""
    for path, fault in resumed.damaged.items():
        Console(stderr=True).print(f"{path} is damaged ({fault}); the previous one is used", soft_wrap=True)
        set_aside(path)
    if resumed.run:
        progress = resumed.run.contents["position"]
        epoch, batch = progress["epoch"], progress["batch"]
        where = f"epoch {epoch}, batch {batch}" if batch else f"the start of epoch {epoch}"
        Console().print(f"resumes from {relative(resumed.run.path)}: {where}, step {progress['step']}", soft_wrap=True)
    for notice in notices:
        Console().print(f"  changed since: {notice}", soft_wrap=True)


def results_of(run: Run, facts: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """The rows of the final table as text, and the metrics of the last epoch as numbers."""
    trainer, task = run.trainer, run.task
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    results: dict[str, Any] = {f"{name} (last epoch)": f"{value:.2f}" for name, value in sorted(metrics.items())}
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
            results[f"{task.monitor} (best epoch, chosen on these images)"] = f"{float(callback.best_model_score):.2f}"
            break
    results |= facts
    results["images/s training"] = f"{run.stopwatch.rate('train'):,.0f}"
    results["images/s validation"] = f"{run.stopwatch.rate('val'):,.0f}"
    results["time"] = f"{seconds:.0f} s for {counted(trainer.current_epoch, 'epoch')}"
    return results | metrics


def write_report(cfg: DictConfig, run: Run, run_dir: Path, command: str, results: Mapping[str, Any]) -> None:
    """Write the run's card with its plots, mark the run as finished, and print the final table."""
    shown = {name: value for name, value in results.items() if isinstance(value, str)}
    images, outputs = _draw(run, run_dir), _outputs(run, run_dir)
    sizes = run.data.sizes
    data: dict[str, Any] = {f"{split} images": count for split, count in sizes.items()}
    data |= {f"{split} sha256": run.data.fingerprint(split) for split in sizes}
    write_card(
        run_dir / "README.md",
        title=f"{cfg.name}, {cfg.data.source._target_.rpartition('.')[2]}",
        command=command,
        seed=cfg.seed,
        results=shown,
        data=data,
        images=images,
    )
    text = json.dumps({"end": end_of(cfg), "command": command, "results": results}, indent=1, default=str)
    (run_dir / RESULTS).write_text(text + "\n", encoding="utf-8")
    print_results(f"{cfg.name}: done", shown, outputs)


def write_card(
    output: Path,
    *,
    title: str,
    command: str,
    seed: int,
    results: Mapping[str, Any],
    data: Mapping[str, Any],
    images: Mapping[str, Path],
) -> None:
    """Write the card.

    Args:
        output: the file.
        title: first line.
        command: as it was typed.
        seed: of the run.
        results: name -> figure, as in the final table.
        data: name -> figure, sizes and hashes of the splits among them.
        images: caption -> file, linked relative to the card.
    """
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    about = {"finished": now, "commit": provenance.commit(), "hardware": provenance.hardware(), "seed": seed}
    lines = [f"# {title}", "", "```", command, "```", ""]
    for heading, rows in (("Results", results), ("Data", data), ("Run", about), ("Versions", provenance.versions())):
        lines += [f"## {heading}", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in rows.items()]
        lines.append("")
    for caption, file in images.items():
        lines += [f"![{caption}]({file.relative_to(output.parent).as_posix()})", ""]
    output.write_text("\n".join(lines), encoding="utf-8")


def _outputs(run: Run, run_dir: Path) -> dict[str, Path]:
    """What lies in the run's folder; the list of unreadable images is written here."""
    outputs = {"run": run_dir, "card": run_dir / "README.md", "plots": run_dir / "plots"}
    for callback in run.trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            outputs["best checkpoint"] = Path(callback.best_model_path)
        elif isinstance(callback, LastCheckpoint) and callback.path.exists():
            outputs["last checkpoint"] = callback.path
    budgets = [run.data.budget(split) for split in run.data.sizes]
    if any(budget.records for budget in budgets):
        outputs["images that cannot be read"] = run_dir / "unreadable.json"
        text = json.dumps([budget.as_dict() for budget in budgets], indent=1)
        outputs["images that cannot be read"].write_text(text + "\n", encoding="utf-8")
    return outputs


def _draw(run: Run, run_dir: Path) -> dict[str, Path]:
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    images = {}
    if (run_dir / "metrics.csv").is_file():
        images["learning curves"] = folder / "curves.png"
        plot_curves(run_dir / "metrics.csv", images["learning curves"], metric=run.task.monitor)
    return images | run.observer.draw(folder, run.data)
