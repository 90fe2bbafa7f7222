"""``visionattn evaluate``: one number, and everything it depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, seed_everything
from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.commands.build import Run, build_evaluation
from visionattn.commands.restore import restore
from visionattn.errors import DataError
from visionattn.reports import provenance
from visionattn.reports.card import print_results


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", allow: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Scores a checkpoint and writes ``result.json``.

    Args: as for :func:`visionattn.commands.train.run`.
    Returns:
        the contents of ``result.json``; empty for a dry run.
    Raises:
        VisionAttnError: an unusable checkpoint, or data that do not suit the model.
    """
    seed_everything(cfg.seed, verbose=False)
    task, trained = restore(cfg.ckpt, allow)
    parts = build_evaluation(cfg, task, _data_config(cfg, trained), run_dir, allow)
    _check_classes(task, parts.data)
    facts = {"checkpoint": str(cfg.ckpt), **parts.model_facts()}
    if dry_run:
        if parts.trainer.is_global_zero:
            print_results("dry run: everything builds; no data were read", facts)
        return {}
    parts.trainer.validate(task, datamodule=parts.data, verbose=False)
    result = _result(cfg, parts, command)
    if parts.trainer.is_global_zero:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        shown = {name: f"{value:.2f}" for name, value in result["metrics"].items()} | facts
        shown |= {"images": str(result["num_samples"]), "images/s": f"{parts.stopwatch.rate('val'):,.0f}"}
        print_results("evaluation", shown, {"result": run_dir / "result.json"})
    return result


def _data_config(cfg: DictConfig, trained: DictConfig) -> DictConfig:
    """The data of the run, or those chosen now, with the loader settings asked for."""
    root = cfg if cfg.get("data") is not None else trained
    with open_dict(root):
        if cfg.batch_size is not None:
            root.data.batch_size = root.data.eval_batch_size = cfg.batch_size
        if cfg.num_workers is not None:
            root.data.num_workers = cfg.num_workers
    return root.data


def _check_classes(task: Any, data: LightningDataModule) -> None:
    known, offered = task.num_classes, data.num_classes  # type: ignore[attr-defined]
    if known != offered:
        raise DataError(f"the model tells {known} classes apart, the data have {offered}")


def _result(cfg: DictConfig, parts: Run, command: str) -> dict[str, Any]:
    latest = parts.predictions.latest
    if len(set(latest.ids)) != len(latest.ids):
        raise DataError(f"{len(latest.ids) - len(set(latest.ids))} sample ids were evaluated more than once")
    metrics = {name.removeprefix("val/"): float(value) for name, value in parts.trainer.callback_metrics.items()}
    budget = parts.data.budget("val")  # type: ignore[attr-defined]
    return {
        "metrics": metrics,
        "num_samples": len(latest.ids),
        "ids_sha256": provenance.hash_ids(latest.ids),
        "unreadable": budget.as_dict(),
        "protocol": parts.data.describe_evaluation(),  # type: ignore[attr-defined]
        "checkpoint": {"path": str(cfg.ckpt), "sha256": provenance.hash_file(cfg.ckpt)},
        "data": OmegaConf.to_container(parts.data_config.source, resolve=True),
        "precision": str(cfg.trainer.precision),
        "processes": parts.trainer.world_size,
        "images_per_second": parts.stopwatch.rate("val"),
        "command": command,
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
    }
