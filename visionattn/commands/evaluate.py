"""``visionattn evaluate``: one number, and everything it depends on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, seed_everything
from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.records import RestrictedRecords
from visionattn.errors import ConfigError, DataError
from visionattn.heads import KeepClasses
from visionattn.runs import provenance
from visionattn.runs.build import Run, build_evaluation
from visionattn.runs.card import print_results
from visionattn.runs.open import restore
from visionattn.runs.protocol import apply_protocol, given_keys, protocol_of_run
from visionattn.runs.published import published_task
from visionattn.training.task import VisionTask
from visionattn.weights.distributed import SUMS, is_distributed
from visionattn.weights.sources import checkpoint_file, weights_file


@dataclass
class Subject:
    """What is scored: the task, the data configuration it is scored on, and where its weights come from."""

    task: VisionTask
    data: DictConfig
    origin: dict[str, str]


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Scores a checkpoint of ours, or published weights, and writes ``result.json``.

    Args: as for :func:`visionattn.commands.train.run`.
    Returns:
        the contents of ``result.json``; empty for a dry run.
    Raises:
        VisionAttnError: an unusable checkpoint, or data that do not suit the model.
    """
    seed_everything(cfg.seed, verbose=False)
    subject = _subject(cfg, policy)
    parts = build_evaluation(cfg, subject.task, subject.data, run_dir, policy)
    _check_classes(subject.task, parts.data)
    facts = {**subject.origin, **parts.model_facts(), "protocol": _in_words(_protocol(parts))}
    if dry_run:
        if parts.trainer.is_global_zero:
            print_results("dry run: everything builds; no data were read", facts)
        return {}
    _restrict(subject.task, parts.data)
    parts.trainer.validate(subject.task, datamodule=parts.data, verbose=False)
    result = _result(cfg, parts, subject, command)
    if parts.trainer.is_global_zero:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        _print(result, facts, run_dir, parts.observer.files(run_dir))
    return result


def _subject(cfg: DictConfig, policy: BuildPolicy) -> Subject:
    if cfg.ckpt is not None and (cfg.weights is not None or cfg.get("backbone") is not None):
        raise ConfigError("give either ckpt=<checkpoint of a run> or backbone=... weights=..., not both")
    if cfg.ckpt is None:
        task, protocol = published_task(cfg, policy)
        if cfg.get("data") is None:
            raise ConfigError(
                "say what to score on: data=image_folder data.root=DIR, or another of `visionattn list data`"
            )
        with open_dict(cfg):
            if "data.num_classes" not in given_keys() and "num_classes" in cfg.data:
                cfg.data.num_classes = task.num_classes
        origin = {"backbone": str(cfg.backbone_name), "weights": str(cfg.weights)}
        return Subject(task, _data_config(cfg, cfg, protocol), origin)
    cfg.ckpt = str(checkpoint_file(cfg.ckpt))
    restored, trained = restore(cfg.ckpt, policy, cfg.task)
    own = cfg.get("data") is None
    protocol = {} if own else protocol_of_run(trained.data)
    return Subject(restored, _data_config(cfg, trained if own else cfg, protocol), {"checkpoint": str(cfg.ckpt)})


def _data_config(cfg: DictConfig, root: DictConfig, protocol: dict[str, Any]) -> DictConfig:
    """The data of ``root`` with the model's protocol and the loader settings asked for."""
    apply_protocol(root.data, protocol)
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


def _restrict(task: VisionTask, data: Any) -> None:
    """Where the test set has only some of the model's classes, the others are no answers (as its paper scores it)."""
    records = data.records("val")
    if isinstance(records, RestrictedRecords) and records.class_subset is not None:
        task.head = torch.nn.Sequential(task.head, KeepClasses(records.class_subset, data.num_classes))


def _result(cfg: DictConfig, parts: Run, subject: Subject, command: str) -> dict[str, Any]:
    ids, data = parts.observer.ids, parts.data
    if len(set(ids)) != len(ids):
        raise DataError(f"{len(ids) - len(set(ids))} sample ids were evaluated more than once")
    metrics = {name.removeprefix("val/"): float(value) for name, value in parts.trainer.callback_metrics.items()}
    records = data.records("val")  # type: ignore[attr-defined]
    metrics |= parts.observer.figures(data)
    return {
        "metrics": metrics,
        "num_samples": len(ids),
        "num_published": getattr(records, "num_published", None),
        "classes": len(getattr(records, "class_subset", None) or range(data.num_classes)),  # type: ignore[attr-defined]
        "ids_sha256": provenance.hash_ids(ids),
        "unreadable": data.budget("val").as_dict(),  # type: ignore[attr-defined]
        "protocol": _protocol(parts),
        "checkpoint": _checkpoint(cfg, subject),
        "data": OmegaConf.to_container(parts.data_config.source, resolve=True),
        "precision": str(cfg.trainer.precision),
        "processes": parts.trainer.world_size,
        "images_per_second": parts.stopwatch.rate("val"),
        "command": command,
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
    }


def _checkpoint(cfg: DictConfig, subject: Subject) -> dict[str, str]:
    path = cfg.ckpt if cfg.ckpt is not None else cfg.weights
    if path == "timm":
        return {"timm": str(cfg.backbone.card.weights.timm)}
    if cfg.ckpt is None:
        file = weights_file(str(path))
        return {"path": str(file), "sha256": provenance.hash_file(file)} if file else {"source": str(path)}
    named = Path(path) / SUMS if is_distributed(Path(path)) else path  # a folder's checksums stand for its files
    return {"path": str(path), "sha256": provenance.hash_file(named)}


def _protocol(parts: Run) -> dict[str, Any]:
    """How evaluation pictures are made, by the data, and what the task does with them."""
    return parts.data.describe_evaluation() | parts.task.protocol()  # type: ignore[attr-defined]


def _in_words(rule: dict[str, Any]) -> str:
    shown = {name: value for name, value in rule.items() if name not in ("mean", "std")}
    size = ["x".join(str(edge) for edge in shown.pop("size"))] if "size" in shown else []
    return ", ".join([*size, *(f"{name} {value}" for name, value in shown.items())])


def _print(result: dict[str, Any], facts: dict[str, Any], run_dir: Path, files: dict[str, Path]) -> None:
    shown = {name: f"{value:.2f}" for name, value in result["metrics"].items()} | facts
    published = result["num_published"]
    shown["images"] = f"{result['num_samples']:,}"
    if published is not None and published != result["num_samples"]:
        shown["images"] += f" of the {published:,} published: these figures are not comparable"
    shown["images/s"] = f"{result['images_per_second']:,.0f}"
    print_results("evaluation", shown, {"result": run_dir / "result.json", **files})
