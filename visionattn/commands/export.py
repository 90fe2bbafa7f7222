"""``visionattn export``: a trained model for use elsewhere, checked after writing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.errors import ConfigError, VisionAttnError
from visionattn.export.folder import check_target
from visionattn.export.model import ExportedModel
from visionattn.files import whole_folder
from visionattn.runs.chosen_data import data_of_run, names_data
from visionattn.runs.class_names import match_classes
from visionattn.runs.open import OpenedRun, open_run
from visionattn.runs.published import open_published
from visionattn.runs.table import print_results
from visionattn.training.writing import writing

FOLDERS = ("timm", "safetensors")
"""Formats that are folders: modules of ``export`` with a function ``write(exported, folder, dry_run)``."""
GRAPHS = ("onnx", "torch_export", "aot_inductor")
"""Formats that ``export/graphs.py`` writes."""
QUANTIZED = "int8"


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Write a checkpoint's model in another format, load what was written, and compare.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``folder``, and what the format's writer reports; empty for a dry run.

    Raises:
        ConfigError: an unknown format, a model that it cannot express, or a folder that holds something already.
        CheckpointError: an unusable checkpoint, or a copy that gives other results.
    """
    write = writer(cfg)
    if cfg.options.push_to_hub and cfg.format not in FOLDERS:
        raise ConfigError(f"options.push_to_hub goes with format={' or '.join(FOLDERS)}, not {cfg.format}")
    folder = Path(cfg.dir).expanduser() if cfg.dir else run_dir
    if cfg.dir:
        check_target(folder, bool(cfg.overwrite))
    if dry_run:
        exported = _opened(cfg, policy)
        print_results("dry run: the model can be built; nothing was written", write(exported, folder, dry_run))
        return {}
    with writing(folder, "nothing of it is left; make room or choose another dir="), whole_folder(folder) as temporary:
        exported = _opened(cfg, policy)
        facts = write(exported, temporary, dry_run)
    facts = {k: v.replace(str(temporary), str(folder)) if isinstance(v, str) else v for k, v in facts.items()}
    shown = {name: value for name, value in facts.items() if not isinstance(value, float)}
    outputs: dict[str, str | Path] = {"folder": folder}
    if "use" in shown:
        outputs["use"] = shown.pop("use")
    if cfg.options.push_to_hub:
        shown["uploaded"] = _upload(folder, cfg)
    print_results(f"exported: {cfg.format}{f', {cfg.quantize}' if cfg.quantize else ''}", shown, outputs)
    return {"folder": str(folder), **facts}


def _upload(folder: Path, cfg: DictConfig) -> str:
    from visionattn.export.hub import push

    try:
        return push(folder, str(cfg.options.push_to_hub), bool(cfg.options.private))
    except VisionAttnError as error:
        error.leaves_files = True  # the export itself is complete
        raise


def _opened(cfg: DictConfig, policy: BuildPolicy) -> ExportedModel:
    """The model, with the data of the command line where it names some.

    Raises:
        ConfigError: data whose classes are not those of the model, or stand in another order.
    """
    opened = _chosen(cfg, policy)
    if cfg.get("data") is None:
        return ExportedModel(opened, cfg.options)
    exported = ExportedModel(opened, cfg.options, data_of_run(cfg, opened, policy))
    if exported.data is not None and names_data(cfg) and cfg.options.part == "model":
        match = match_classes(opened.task.class_info.names, exported.data.class_names)
        if match.order is not None:
            raise ConfigError(
                "the classes of data= stand in another order than the model's, which an export keeps: "
                "leave data= out, or use options.part=features"
            )
    return exported


def _chosen(cfg: DictConfig, policy: BuildPolicy) -> OpenedRun:
    """The run, or the published classifier, that is exported.

    Raises:
        ConfigError: neither or both of them, or a format that only a run has.
    """
    published = cfg.weights is not None or cfg.get("backbone") is not None
    if (cfg.ckpt is not None) == published:
        raise ConfigError(
            "give either ckpt=<a run or its checkpoint> or a published classifier: backbone=swin_tiny weights=timm "
            f"(or weights=<file>){', not both' if published else ''}"
        )
    if not published:
        return open_run(cfg.ckpt, policy, hashed=False)
    if cfg.format == "safetensors":
        raise ConfigError(
            "format=safetensors holds the configuration of a run, which published weights have not; "
            f"visionattn.load({str(cfg.backbone_name)!r}) loads them by name, and format=timm writes them"
        )
    return open_published(cfg, policy)


def writer(cfg: DictConfig) -> Callable[[ExportedModel, Path, bool], dict[str, Any]]:
    """The function that writes the format of a command.

    Raises:
        ConfigError: there is no such format, or none that is quantized in this way.
    """
    format, kind = str(cfg.format), cfg.quantize
    if format not in (*FOLDERS, *GRAPHS):
        raise ConfigError(f"unknown format {format}; choose from {', '.join((*FOLDERS, *GRAPHS))}")
    if kind is not None:
        if kind != QUANTIZED:
            raise ConfigError(f"quantize is {QUANTIZED} or null, got {kind!r}")
        if format != "onnx":
            raise ConfigError(f"quantize={QUANTIZED} goes with format=onnx, not {format}")
        from visionattn.export import int8

        images = cfg.calibration_images
        return partial(int8.write, images=None if images is None else int(images))
    if format in GRAPHS:
        from visionattn.export import graphs

        return partial(graphs.write, format=format)
    return import_module(f"visionattn.export.{format}").write
