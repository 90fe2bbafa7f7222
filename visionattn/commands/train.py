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
from visionattn.runs.pretrained import initialise
from visionattn.training.checkpoints import LastCheckpoint, newest, set_aside
from visionattn.weights import Report, read_checkpoint
from visionattn.weights.distributed import is_distributed, read_facts


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
    found, skipped = _checkpoint(cfg, run_dir)
    if cfg.resume is not None and (results := resume.finished(cfg, run_dir)):
        Console().print(f"{relative(run_dir)} is finished; nothing to do", soft_wrap=True)
        return results
    contents = _contents(found) if found else {}
    with torch.device("meta") if dry_run else nullcontext():  # shapes alone: no weights are drawn for nothing
        parts = build(cfg, run_dir, policy, goes_on_at=contents.get("global_step"))
    first = parts.trainer.is_global_zero
    _check_optimizer(parts, cfg)
    facts = {"model": cfg.name, **parts.model_facts(), **parts.batch_facts()}
    if cfg.weights is not None:
        facts["weights"] = str(cfg.weights)
    notices = resume.check_resumable(contents, found, cfg, parts.batch) if found else []
    if dry_run:
        if first:
            print_results("dry run: everything builds; no data were read", facts)
        return {}
    if first:
        _begin(cfg, run_dir, facts)
        _tell_resumed(contents, found, skipped, notices)
    del contents
    if cfg.weights is not None and found is None:
        report = initialise(parts.task, cfg.weights, cfg.weights_part)
        facts["weights"] = f"{cfg.weights}: {report.summary()}"
        if first:
            _tell_weights(facts["weights"], report)
    start = time.perf_counter()
    parts.trainer.fit(parts.task, datamodule=parts.data, ckpt_path=found, weights_only=True)
    results = _results(parts, facts, time.perf_counter() - start)
    if first:
        _report(cfg, parts, run_dir, command, results)
        resume.write_results(cfg, run_dir, results, command)
    return results


def _checkpoint(cfg: DictConfig, run_dir: Path) -> tuple[Path | None, list[str]]:
    """What to go on from: ``ckpt``, or the newest whole checkpoint of the run with ``resume=auto``; and what was passed
    over.
    """
    if cfg.resume not in (None, "auto"):
        raise ConfigError(f"resume is auto or null, got {cfg.resume!r}; a certain checkpoint is given as ckpt=PATH")
    if cfg.ckpt is not None:
        return Path(cfg.ckpt), []
    return newest(run_dir / "checkpoints") if cfg.resume else (None, [])


def _contents(path: Path) -> dict[str, Any]:
    """What decides whether a checkpoint can be gone on from; the weights are read later, by the strategy."""
    return read_facts(path) if is_distributed(path) else read_checkpoint(path)


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


def _tell_resumed(contents: dict[str, Any], found: Path | None, skipped: list[str], notices: list[str]) -> None:
    for line in skipped:
        Console(stderr=True).print(f"{line}; the one before is taken", soft_wrap=True)
        set_aside(Path(line.partition(" is damaged")[0]))
    if found:
        at = contents["position"]
        place = f"epoch {at['epoch']}, batch {at['batch']}" if at["batch"] else f"the start of epoch {at['epoch']}"
        Console().print(f"goes on from {relative(found)}: {place}, step {at['step']}", soft_wrap=True)
    for notice in notices:
        Console().print(f"  changed since: {notice}", soft_wrap=True)


def _tell_weights(summary: str, report: Report) -> None:
    console = Console()
    console.print(f"weights from {summary}", highlight=False, markup=False, soft_wrap=True)
    for line in report.lines():
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _check_optimizer(parts: Run, cfg: DictConfig) -> None:
    """Builds optimizer and schedule once, for nothing, so that a wrong value is found before the data are read."""
    try:
        parts.task.build_optimizer(total_steps=1000, steps_per_epoch=100, batch=parts.batch)
    except (TypeError, ValueError) as error:
        given = {group: OmegaConf.to_container(cfg[group], resolve=True) for group in ("optim", "schedule")}
        raise ConfigError(f"the optimizer or its schedule does not build from {given}: {error}") from error


def _results(parts: Run, facts: dict[str, str], seconds: float) -> dict[str, Any]:
    trainer, task = parts.trainer, parts.task
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    results: dict[str, Any] = {f"{name} (last epoch)": f"{value:.2f}" for name, value in sorted(metrics.items())}
    best = _best_score(parts)
    if best is not None:
        results[f"{task.monitor} (best epoch, chosen on these images)"] = f"{best:.2f}"
    results |= facts
    results["images/s training"] = f"{parts.stopwatch.rate('train'):,.0f}"
    results["images/s validation"] = f"{parts.stopwatch.rate('val'):,.0f}"
    results["time"] = f"{seconds:.0f} s for {trainer.current_epoch} epochs"
    return results | metrics


def _checkpoints(parts: Run) -> dict[str, Path]:
    """``best`` (chosen by a metric) and ``last``, as far as the run has them."""
    places = {}
    for callback in parts.trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            places["best"] = Path(callback.best_model_path)
        elif isinstance(callback, LastCheckpoint) and callback.path.exists():
            places["last"] = callback.path
    return places


def _best_score(parts: Run) -> float | None:
    for callback in parts.trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None


def _report(cfg: DictConfig, parts: Run, run_dir: Path, command: str, results: dict[str, Any]) -> None:
    shown = {name: value for name, value in results.items() if isinstance(value, str)}
    pictures = _draw(parts, run_dir)
    sizes = parts.data.sizes  # type: ignore[attr-defined]
    data = {f"{split} images": count for split, count in sizes.items()}
    data |= {f"{split} sha256": parts.data.fingerprint(split) for split in sizes}  # type: ignore[attr-defined]
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
    places |= {f"{which} checkpoint": path for which, path in _checkpoints(parts).items()}
    budgets = [parts.data.budget(split) for split in sizes]  # type: ignore[attr-defined]
    if any(budget.records for budget in budgets):
        places["images that cannot be read"] = run_dir / "unreadable.json"
        lists = [budget.as_dict() for budget in budgets]
        places["images that cannot be read"].write_text(json.dumps(lists, indent=1) + "\n", encoding="utf-8")
    print_results(f"{cfg.name}: done", shown, places)


def _draw(parts: Run, run_dir: Path) -> dict[str, Path]:
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    pictures = {}
    if (run_dir / "metrics.csv").is_file():
        pictures["learning curves"] = folder / "curves.png"
        plot_curves(run_dir / "metrics.csv", pictures["learning curves"], metric=parts.task.monitor)
    return pictures | parts.observer.draw(folder, parts.data)
