"""``visionattn evaluate``: one number, and everything it depends on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.data.records import RestrictedRecords
from visionattn.errors import ConfigError, DataError
from visionattn.heads import KeepClasses
from visionattn.runs import provenance
from visionattn.runs.build import Run, build_evaluation
from visionattn.runs.infer import infer
from visionattn.runs.open import open_run
from visionattn.runs.pretrained import pretrained_task
from visionattn.runs.protocol import apply_protocol, given_keys, protocol_of_run
from visionattn.runs.table import print_results
from visionattn.tasks.observer import PLOTS, drawn
from visionattn.training.task import VisionTask
from visionattn.weights.sources import weights_file


@dataclass
class EvaluationTarget:
    """What is scored.

    Attributes:
        task: the model in its task, with its weights.
        data: the configuration of the data that it is scored on.
        facts: where its weights come from, for the table.
        checkpoint: the same for ``result.json``, with a checksum where there is a file.
    """

    task: VisionTask
    data: DictConfig
    facts: dict[str, str]
    checkpoint: dict[str, str]


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Score a checkpoint of ours, or published weights, and write ``result.json``.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        The contents of ``result.json``; empty for a dry run.

    Raises:
        VisionAttnError: an unusable checkpoint, or data that do not suit the model.
    """
    seed_everything(cfg.seed, verbose=False)
    target = _target(cfg, policy)
    evaluation = build_evaluation(cfg, target.task, target.data, run_dir, policy)
    _check_classes(target.task, evaluation.data)
    facts = {**target.facts, **evaluation.model_facts(), "protocol": _in_words(_protocol(evaluation))}
    if dry_run:
        if evaluation.trainer.is_global_zero:
            print_results("dry run: everything can be built; no data were read", facts)
        return {}
    _restrict(target.task, evaluation.data)
    evaluation.trainer.validate(target.task, datamodule=evaluation.data, verbose=False)
    result = _result(cfg, evaluation, target, command)
    if evaluation.trainer.is_global_zero:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        files = evaluation.observer.files(run_dir, evaluation.data)
        pictures = drawn(evaluation.observer, run_dir / PLOTS, evaluation.data)
        _print(result, facts, run_dir, files | {f"drawn {name}": file for name, file in pictures.items()})
    return result


def _target(cfg: DictConfig, policy: BuildPolicy) -> EvaluationTarget:
    if cfg.ckpt is not None and (cfg.weights is not None or cfg.get("backbone") is not None):
        raise ConfigError("give either ckpt=<checkpoint of a run> or backbone=... weights=..., not both")
    return _pretrained(cfg, policy) if cfg.ckpt is None else _trained(cfg, policy)


def _pretrained(cfg: DictConfig, policy: BuildPolicy) -> EvaluationTarget:
    """A backbone with published weights, on the data of the command line."""
    task, protocol = pretrained_task(cfg, policy)
    if cfg.get("data") is None:
        raise ConfigError("name a data set: data=image_folder data.root=DIR (see `visionattn list data`)")
    with open_dict(cfg):
        if "data.num_classes" not in given_keys() and "num_classes" in cfg.data:
            cfg.data.num_classes = task.num_classes
    facts = {"backbone": str(cfg.backbone_name), "weights": str(cfg.weights)}
    if cfg.weights == "timm":
        checkpoint = {"timm": str(cfg.backbone.card.weights.timm)}
    elif file := weights_file(str(cfg.weights)):
        checkpoint = {"path": str(file), "sha256": provenance.hash_file(file)}
    else:
        checkpoint = {"source": str(cfg.weights)}
    return EvaluationTarget(task, _data_config(cfg, cfg, protocol, policy), facts, checkpoint)


def _trained(cfg: DictConfig, policy: BuildPolicy) -> EvaluationTarget:
    """A run's checkpoint, on its own data or those of the command line."""
    opened = open_run(cfg.ckpt, policy, cfg.task)
    own = cfg.get("data") is None
    protocol = {} if own else protocol_of_run(opened.config.data)
    data = _data_config(cfg, opened.config if own else cfg, protocol, policy)
    path = str(opened.path)
    return EvaluationTarget(opened.task, data, {"checkpoint": path}, {"path": path, "sha256": opened.sha256})


def _data_config(cfg: DictConfig, root: DictConfig, protocol: dict[str, Any], policy: BuildPolicy) -> DictConfig:
    """The data of ``root`` with the model's protocol and the loader settings of the command line; the rest inferred."""
    apply_protocol(root.data, protocol)
    with open_dict(root):
        if cfg.batch_size is not None:
            root.data.batch_size = root.data.eval_batch_size = cfg.batch_size
        if cfg.num_workers is not None:
            root.data.num_workers = cfg.num_workers
    infer(root, policy)
    return root.data


def _check_classes(task: Any, data: Any) -> None:
    if task.num_classes is not None and task.num_classes != data.num_classes:
        raise DataError(f"the model has {task.num_classes} classes, the data have {data.num_classes}")


def _restrict(task: VisionTask, data: Any) -> None:
    """Leave out the classes that the test set does not have, as its paper scores it."""
    records = data.records("val")
    if isinstance(records, RestrictedRecords) and records.class_subset is not None:
        task.head = torch.nn.Sequential(task.head, KeepClasses(records.class_subset, data.num_classes))


def _result(cfg: DictConfig, evaluation: Run, target: EvaluationTarget, command: str) -> dict[str, Any]:
    ids: list[str] = evaluation.observer.ids
    data: Any = evaluation.data
    if len(set(ids)) != len(ids):
        repeated = [name for name, count in Counter(ids).items() if count > 1]
        raise DataError(f"{len(repeated)} samples were evaluated more than once, e.g. {repeated[0]}")
    metrics = {name.removeprefix("val/"): float(value) for name, value in evaluation.trainer.callback_metrics.items()}
    records = data.records("val")
    metrics |= evaluation.observer.figures(data)
    return {
        "metrics": metrics,
        "num_samples": len(ids),
        "num_published": getattr(records, "num_published", None),
        "classes": len(getattr(records, "class_subset", None) or range(data.num_classes)),
        "ids_sha256": provenance.hash_ids(ids),
        "unreadable": data.budget("val").as_dict(),
        "protocol": _protocol(evaluation),
        "checkpoint": target.checkpoint,
        "data": OmegaConf.to_container(evaluation.data_config.source, resolve=True),
        "precision": str(cfg.trainer.precision),
        "processes": evaluation.trainer.world_size,
        "images_per_second": evaluation.stopwatch.rate("val"),
        "command": command,
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
    }


def _protocol(evaluation: Run) -> dict[str, Any]:
    """How the data make evaluation images, and what the task does with them."""
    data: Any = evaluation.data
    return data.describe_evaluation() | evaluation.task.protocol()


def _in_words(rule: dict[str, Any]) -> str:
    shown = {name: value for name, value in rule.items() if name not in ("mean", "std")}
    size = ["x".join(str(edge) for edge in shown.pop("size"))] if "size" in shown else []
    return ", ".join([*size, *(f"{name} {value}" for name, value in shown.items())])


def _print(result: dict[str, Any], facts: dict[str, Any], run_dir: Path, files: dict[str, Path]) -> None:
    shown = {name: f"{value:.2f}" for name, value in result["metrics"].items()} | facts
    published = result["num_published"]
    shown["images"] = f"{result['num_samples']:,}"
    if published is not None and published != result["num_samples"]:
        shown["images"] += f" of {published:,} published images: the scores are not comparable"
    shown["images/s"] = f"{result['images_per_second']:,.0f}"
    print_results("evaluation", shown, {"result": run_dir / "result.json", **files})
