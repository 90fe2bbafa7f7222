"""``visionattn train``: build, fit, and leave a folder that explains itself."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.drawing.plots import plot_curves
from visionattn.errors import ConfigError
from visionattn.runs import resume
from visionattn.runs.build import Run, build
from visionattn.runs.card import print_results, relative, write_card
from visionattn.runs.pretrained import load_pretrained
from visionattn.training.checkpoints import LastCheckpoint, set_aside


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Trains what the config describes.

    Args:
        cfg: composed ``train.yaml``.
        dry_run: build everything, print the facts, stop before the data are read.
        run_dir: where everything goes.
        command: the command as typed, for the run card.
        policy: what configurations may build.
    Returns:
        the figures of the final table, by name; empty for a dry run.
    Raises:
        VisionAttnError: a mistake of configuration or data, a non-finite loss, an unusable checkpoint.
    """
    seed_everything(cfg.seed, verbose=False)
    resumed = resume.open_resumed(cfg, run_dir, policy)
    if cfg.resume is not None and (results := resume.finished(cfg, run_dir)):
        Console().print(f"{relative(run_dir)} is finished; nothing to do", soft_wrap=True)
        return results
    with torch.device("meta") if dry_run else nullcontext():  # shapes alone: no weights are drawn for nothing
        run = build(cfg, run_dir, policy, resumed.step)
    _check_optimizer(run, cfg)
    facts = {"model": cfg.name, **run.model_facts(), **run.batch_facts()}
    if cfg.weights is not None:
        facts["weights"] = str(cfg.weights)
    notices = resume.check_resumable(resumed.run, cfg, run.batch) if resumed.run else []
    first = run.trainer.is_global_zero
    if dry_run:
        if first:
            print_results("dry run: everything builds; no data were read", facts)
        return {}
    if first:
        _begin(cfg, run_dir, facts)
        _tell_resumed(resumed, notices)
    if cfg.weights is not None and resumed.run is None:
        facts["weights"] = _load_weights(cfg, run)
    start = time.perf_counter()
    run.fit(resumed.run)
    results = _results(run, facts, time.perf_counter() - start)
    if first:
        _report(cfg, run, run_dir, command, results)
        resume.write_results(cfg, run_dir, results, command)
    return results


def _load_weights(cfg: DictConfig, run: Run) -> str:
    """Put ``weights`` into the task; what was taken, as a line of the final table."""
    report = load_pretrained(run.task, cfg.weights, cfg.weights_part)
    summary = f"{cfg.weights}: {report.summary()}"
    if run.trainer.is_global_zero:
        console = Console()
        console.print(f"weights from {summary}", highlight=False, markup=False, soft_wrap=True)
        for line in report.lines():
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return summary


def _begin(cfg: DictConfig, run_dir: Path, facts: dict[str, str]) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    if cfg.resume is None:  # another run may have been here
        for name in ("metrics.csv", "nonfinite.jsonl", resume.RESULTS):
            (run_dir / name).unlink(missing_ok=True)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    Console().print(
        f"training [bold]{cfg.name}[/bold], {facts['parameters']} parameters, into {relative(run_dir)}", soft_wrap=True
    )
    Console().print(
        f"images per step {facts['images per step']}; learning rate {facts['learning rate']}", soft_wrap=True
    )


def _tell_resumed(resumed: resume.Resumption, notices: list[str]) -> None:
    for path, fault in resumed.damaged.items():
        Console(stderr=True).print(f"{path} is damaged ({fault}); the one before is taken", soft_wrap=True)
        set_aside(path)
    if resumed.run:
        progress = resumed.run.contents["position"]
        epoch, batch = progress["epoch"], progress["batch"]
        where = f"epoch {epoch}, batch {batch}" if batch else f"the start of epoch {epoch}"
        Console().print(f"goes on from {relative(resumed.run.path)}: {where}, step {progress['step']}", soft_wrap=True)
    for notice in notices:
        Console().print(f"  changed since: {notice}", soft_wrap=True)


def _check_optimizer(run: Run, cfg: DictConfig) -> None:
    """Builds optimizer and schedule once, for nothing, so that a wrong value is found before the data are read."""
    try:
        run.task.build_optimizer(total_steps=1000, steps_per_epoch=100, batch=run.batch)
    except (TypeError, ValueError) as error:
        given = {group: OmegaConf.to_container(cfg[group], resolve=True) for group in ("optim", "schedule")}
        raise ConfigError(f"the optimizer or its schedule does not build from {given}: {error}") from error


def _results(run: Run, facts: dict[str, str], seconds: float) -> dict[str, Any]:
    trainer, task = run.trainer, run.task
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    results: dict[str, Any] = {f"{name} (last epoch)": f"{value:.2f}" for name, value in sorted(metrics.items())}
    best = _best_score(run)
    if best is not None:
        results[f"{task.monitor} (best epoch, chosen on these images)"] = f"{best:.2f}"
    results |= facts
    results["images/s training"] = f"{run.stopwatch.rate('train'):,.0f}"
    results["images/s validation"] = f"{run.stopwatch.rate('val'):,.0f}"
    results["time"] = f"{seconds:.0f} s for {trainer.current_epoch} epochs"
    return results | metrics


def _checkpoints(run: Run) -> dict[str, Path]:
    """``best`` (chosen by a metric) and ``last``, as far as the run has them."""
    places = {}
    for callback in run.trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            places["best"] = Path(callback.best_model_path)
        elif isinstance(callback, LastCheckpoint) and callback.path.exists():
            places["last"] = callback.path
    return places


def _best_score(run: Run) -> float | None:
    for callback in run.trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None


def _report(cfg: DictConfig, run: Run, run_dir: Path, command: str, results: dict[str, Any]) -> None:
    shown = {name: value for name, value in results.items() if isinstance(value, str)}
    pictures = _draw(run, run_dir)
    sizes = run.data.sizes  # type: ignore[attr-defined]
    data = {f"{split} images": count for split, count in sizes.items()}
    data |= {f"{split} sha256": run.data.fingerprint(split) for split in sizes}  # type: ignore[attr-defined]
    write_card(
        run_dir / "README.md",
        title=f"{cfg.name}, {cfg.data.source._target_.rpartition('.')[2]}",
        command=command,
        seed=cfg.seed,
        results=shown,
        data=data,
        pictures=pictures,
    )
    places = {"run": run_dir, "card": run_dir / "README.md", "pictures": run_dir / "plots"}
    places |= {f"{which} checkpoint": path for which, path in _checkpoints(run).items()}
    budgets = [run.data.budget(split) for split in sizes]  # type: ignore[attr-defined]
    if any(budget.records for budget in budgets):
        places["images that cannot be read"] = run_dir / "unreadable.json"
        lists = [budget.as_dict() for budget in budgets]
        places["images that cannot be read"].write_text(json.dumps(lists, indent=1) + "\n", encoding="utf-8")
    print_results(f"{cfg.name}: done", shown, places)


def _draw(run: Run, run_dir: Path) -> dict[str, Path]:
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    pictures = {}
    if (run_dir / "metrics.csv").is_file():
        pictures["learning curves"] = folder / "curves.png"
        plot_curves(run_dir / "metrics.csv", pictures["learning curves"], metric=run.task.monitor)
    return pictures | run.observer.draw(folder, run.data)
