"""``visionattn evaluate``: one number, and everything it depends on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.data import VisionData
from visionattn.data.records import RestrictedRecords
from visionattn.errors import ConfigError, DataError
from visionattn.files import write_whole
from visionattn.heads import KeepClasses
from visionattn.runs import provenance
from visionattn.runs.build import Run, build_evaluation
from visionattn.runs.chosen_data import data_of_run, names_data, on_data_set
from visionattn.runs.class_names import ClassMatch, match_classes
from visionattn.runs.evaluation_report import write_evaluation
from visionattn.runs.folder import REPORT
from visionattn.runs.measures import check_measures, measure, print_measures
from visionattn.runs.open import open_run
from visionattn.runs.parts import Parts
from visionattn.runs.pretrained import pretrained_task
from visionattn.runs.protocol import (
    LOADING,
    Differences,
    differences,
    in_words,
    protocol_of_run,
)
from visionattn.runs.result import protocol_in_use, result_of
from visionattn.runs.table import print_results
from visionattn.runs.talking import rate_in_words
from visionattn.tasks.class_order import reorder_classes
from visionattn.tasks.observer import PLOTS
from visionattn.training.task import VisionTask
from visionattn.weights.sources import weights_file

UNCOMPILED = {"compile": False}
"""Of a run's task: an evaluation compiles only where its own command says so (``task.compile=true``)."""


@dataclass
class EvaluationTarget:
    """What is scored.

    Attributes:
        task: the model in its task, with its weights.
        data: the configuration of the data that it is scored on.
        facts: where its weights come from, for the table.
        checkpoint: the same for ``result.json``, with a checksum where there is a file.
        differing: what the evaluation does in another way than the training, or than the weights' own protocol.
    """

    task: VisionTask
    data: DictConfig
    facts: dict[str, str]
    checkpoint: dict[str, str]
    differing: Differences


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Score a checkpoint of ours, or published weights, and write ``result.json``.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        The contents of ``result.json``; empty for a dry run.

    Raises:
        VisionAttnError: an unusable checkpoint, data that do not suit the model, or a file that cannot be written;
            then the figures are printed first, and what was written stays.
    """
    seed_everything(cfg.seed, verbose=False)
    target = _target(cfg, policy)
    evaluation = build_evaluation(cfg, target.task, target.data, run_dir, policy)
    _check_number_of_classes(target.task, evaluation.data)
    check_measures(cfg.measures, evaluation, policy)
    facts = target.facts | evaluation.model_facts() | {"split": str(cfg.split)}
    facts["protocol"] = _in_words(protocol_in_use(evaluation))
    if target.differing:
        facts["unlike training"] = ", ".join(in_words(target.differing))
    if dry_run:
        if evaluation.trainer.is_global_zero:
            print_results("dry run: everything can be built; no data were read", facts)
        return {}
    facts["classes"] = classes = _prepare_data(cfg, target.task, evaluation.data)
    evaluation.trainer.validate(target.task, datamodule=evaluation.data, verbose=False)
    result = result_of(cfg, evaluation, target.checkpoint, target.differing, classes, command)
    result["measures"] = measure(cfg, evaluation, policy)
    if evaluation.trainer.is_global_zero:
        written, parts = _write(evaluation, result, facts, run_dir, cfg.seed)
        _print(result, facts, written)
        parts.check(f"the figures above are in {written['result']}" if "result" in written else "the figures are above")
    return result


def _target(cfg: DictConfig, policy: BuildPolicy) -> EvaluationTarget:
    if cfg.ckpt is not None and (cfg.weights is not None or cfg.get("backbone") is not None):
        raise ConfigError("give either ckpt=<checkpoint of a run> or backbone=... weights=..., not both")
    if cfg.match_classes not in ("name", "index"):
        raise ConfigError(f"match_classes is name or index, got {cfg.match_classes!r}")
    return _pretrained(cfg, policy) if cfg.ckpt is None else _trained(cfg, policy)


def _pretrained(cfg: DictConfig, policy: BuildPolicy) -> EvaluationTarget:
    """A backbone with published weights, on the data of the command line."""
    model = pretrained_task(cfg, policy)
    if not names_data(cfg):
        raise ConfigError("name a data set: data=image_folder data.root=DIR (see `visionattn list data`)")
    facts = {"backbone": str(cfg.backbone_name), "weights": str(cfg.weights)} | model.facts
    if cfg.weights == "timm":
        checkpoint = {"timm": str(cfg.backbone.card.weights.timm)}
    elif file := weights_file(str(cfg.weights)):
        checkpoint = {"path": str(file), "sha256": provenance.hash_file(file)}
    else:
        checkpoint = {"source": str(cfg.weights)}
    data = on_data_set(cfg, model.protocol, model.task, policy)
    return EvaluationTarget(model.task, data, facts, checkpoint, differences(model.protocol, protocol_of_run(data)))


def _trained(cfg: DictConfig, policy: BuildPolicy) -> EvaluationTarget:
    """A run's checkpoint, on its own data or those of the command line."""
    changes = OmegaConf.create(UNCOMPILED)
    changes.merge_with(cfg.task)
    opened = open_run(cfg.ckpt, policy, changes)
    trained, protocol = plain(opened.config.data), protocol_of_run(opened.config.data)
    data = data_of_run(cfg, opened, policy)
    if names_data(cfg):
        differing = differences(protocol, protocol_of_run(data))
    else:
        differing = {key: pair for key, pair in differences(trained, plain(data)).items() if key not in LOADING}
    differing |= {f"task.{key}": pair for key, pair in opened.changed.items() if key not in UNCOMPILED}
    path = str(opened.path)
    checkpoint = {"path": path, "sha256": opened.sha256}
    return EvaluationTarget(opened.task, data, {"checkpoint": path}, checkpoint, differing)


def _check_number_of_classes(task: VisionTask, data: VisionData[Any]) -> None:
    if task.num_classes is not None and task.num_classes != data.num_classes:
        if task.class_info.names:
            data.setup("validate")
            match_classes(task.class_info.names, data.class_names)  # names the classes that differ
        raise DataError(f"the model has {task.num_classes} classes, the data have {data.num_classes}")


def _prepare_data(cfg: DictConfig, task: VisionTask, data: VisionData[Any]) -> str:
    """Read the split, bring the model's classes into the order of the data, and say how they belong together."""
    data.evaluation_split = str(cfg.split)
    data.setup("validate")
    match = ClassMatch(f"{data.num_classes}, by index as asked for")
    if cfg.match_classes == "name":
        match = match_classes(task.class_info.names, data.class_names)
    if match.order is not None:
        reorder_classes(task, match.order)
    _restrict(task, data)
    if cfg.split == "test" and _is_validation(data):
        return f"{match.told}; the test split of these data is their val split"
    return match.told


def _is_validation(data: VisionData[Any]) -> bool:
    """Whether what a source gives as its test split is its val split."""
    try:
        return data.fingerprint("test") == data.fingerprint("val")
    except DataError:  # there is no val split
        return False


def _restrict(task: VisionTask, data: VisionData[Any]) -> None:
    """Leave out the classes that the test set does not have, as its paper scores it."""
    records = data.records(data.evaluation_split)
    if isinstance(records, RestrictedRecords) and records.class_subset is not None:
        task.head = torch.nn.Sequential(task.head, KeepClasses(records.class_subset, data.num_classes))


def _write(
    run: Run, result: dict[str, Any], facts: dict[str, Any], folder: Path, seed: int
) -> tuple[dict[str, Path], Parts]:
    """Write every file that can be written; name -> file."""
    written, parts, plots = {"result": folder / "result.json"}, Parts(), folder / PLOTS
    with parts.part(str(written["result"])):
        write_whole(written["result"], json.dumps(result, indent=2, allow_nan=False) + "\n")
    files, pictures = {}, {}
    with parts.part(f"the tables in {folder}"):
        files = run.observer.files(folder, run.data)
    with parts.part(f"pictures in {plots}"):
        plots.mkdir(parents=True, exist_ok=True)
        pictures = run.observer.draw(plots, run.data)
    written["report"] = folder / REPORT
    with parts.part(str(written["report"])):
        write_evaluation(run, result, facts, written["report"], seed)
    there = {name: file for name, file in written.items() if str(file) not in parts.failed}
    return there | files | {f"drawn {name}": file for name, file in pictures.items()}, parts


def _in_words(rule: dict[str, Any]) -> str:
    shown = {name: value for name, value in rule.items() if name not in ("mean", "std")}
    size = ["x".join(str(edge) for edge in shown.pop("size"))] if "size" in shown else []
    return ", ".join([*size, *(f"{name} {value}" for name, value in shown.items())])


def _print(result: dict[str, Any], facts: dict[str, Any], files: dict[str, Path]) -> None:
    shown = {name: "-" if value is None else f"{value:.2f}" for name, value in result["metrics"].items()} | facts
    published = result["num_published"]
    shown["images"] = f"{result['num_samples']:,}"
    if published is not None and published != result["num_samples"]:
        shown["images"] += f" of {published:,} published images: the scores are not comparable"
    shown["images/s"] = rate_in_words(result["images_per_second"])
    print_measures(result["measures"])
    print_results("evaluation", shown, files)
