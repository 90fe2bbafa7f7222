"""``visionattn.load``: a model from a run, a checkpoint, an export, the Hub, or by the name of a published backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from visionattn.api.model import Model
from visionattn.backbones import zoo
from visionattn.backbones.timm_network import check_timm_name, timm_name
from visionattn.config import BuildPolicy, check_allow, compose
from visionattn.config.composing import as_override
from visionattn.config.messages import nearest
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.classifier import published_classifier
from visionattn.runs.open import OpenedRun, open_run
from visionattn.weights import Source, checkpoint_file, open_source
from visionattn.weights.distributed import is_distributed

_GRAPHS = ("model.onnx", "model.int8.onnx", "model.pt2", "model.aot.pt2")
_ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")


def load(
    source: str | Path,
    *,
    weights: str | Path | None = None,
    device: str | None = None,
    allow: Sequence[str] = (),
) -> Model:
    """Load a trained model, ready to predict.

    Args:
        source: the folder of a run, whose best checkpoint is taken; a checkpoint; a folder that ``visionattn export``
            wrote (``format=timm`` or ``safetensors``); ``hf-hub:owner/name``; or the name of a backbone, ours or timm's
            (``"resnet18.a1_in1k"``), whose own classifier is taken.
        weights: for the name of a backbone: a file, a folder, or ``timm`` (the default), what timm publishes for it.
        device: ``cpu``, ``cuda`` ...; None: ``cuda`` where there is a GPU.
        allow: your own packages that the run's configuration may name, as ``allow=[my_package]`` on the command line.

    Raises:
        CheckpointError: unreadable, unsafe to read, without what builds the model, or weights that do not fit.
        ConfigError: there is nothing of that name, the configuration names something that may not be built, or there is
            no such device.
    """
    policy, text = BuildPolicy(check_allow(tuple(allow))), str(source)
    network = timm_name(text) if not Path(text).exists() else None
    if network is not None:
        model = _of_timm(network, {}, str(weights or "timm"), policy)
    elif weights is not None or text in zoo.backbone_files():
        zoo.check_name(text)
        model = _published(zoo.compose_backbone(text), text, str(weights or "timm"), policy)
    else:
        model = _trained(text, policy)
    if device is not None or _has_cuda():
        model.to(device or "cuda")
    return model


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _trained(text: str, policy: BuildPolicy) -> Model:
    """A model of a run of ours, as a checkpoint or an export."""
    path = checkpoint_file(text)
    if is_distributed(path) or (path.is_file() and path.suffix != ".safetensors"):
        return _opened(open_run(path, policy, hashed=False))
    _check_there(text, path)
    source = open_source(text)
    if source.config is not None:
        contents = {"config": source.config, "state_dict": source.state, "class_facts": _class_facts(source)}
        return _opened(OpenedRun(path, contents, policy))
    if source.network is not None:
        return _of_timm(source.network["name"], source.network["arguments"], text, policy)
    if source.architecture is None:
        raise CheckpointError(
            f"{source.origin} holds weights alone: nothing with them says which model they are of. "
            f"visionattn.load('swin_tiny', weights={text!r}) takes those of a published classifier"
        )
    name = str(source.architecture["name"])
    zoo.check_name(name)
    changes = source.architecture["changes"]
    node = OmegaConf.create(changes) if isinstance(changes, dict) else zoo.compose_backbone(name)
    if "input_size" in source.facts:
        with open_dict(node):
            node.in_chans = source.facts["input_size"][0]
    return _published(node, name, text, policy)


def _of_timm(name: str, arguments: dict[str, Any], weights: str, policy: BuildPolicy) -> Model:
    """A network of timm with its own classifier."""
    check_timm_name(name)
    node = compose("backbone_only", ["backbone=timm", as_override("backbone.model", name)]).backbone
    node.arguments = {key: value for key, value in arguments.items() if key not in ("in_chans", "num_classes")}
    node.in_chans = arguments.get("in_chans", 3)
    return _published(node, f"timm/{name}", weights, policy)


def _opened(run: OpenedRun) -> Model:
    return Model(run.task, run.data(), str(run.path))


def _published(node: DictConfig, name: str, weights: str, policy: BuildPolicy) -> Model:
    """A classifier with weights that no run's configuration came with."""
    cfg = OmegaConf.create({"backbone": node, "backbone_name": name, "weights": weights})
    return Model(*published_classifier(cfg, policy), f"{name}, {weights}")


def _class_facts(source: Source) -> dict[str, Any]:
    """What is known of the classes; exports from before 0.2 hold their names alone, which are numbered from 1."""
    if source.class_facts or not source.class_names:
        return dict(source.class_facts)
    return {"names": list(source.class_names), "ids": list(range(1, len(source.class_names) + 1))}


def _all_backbones() -> list[str]:
    import timm

    return [*zoo.list_backbones(), *(name for name in timm.list_models() if not name.startswith(zoo.PREFIX))]


def _check_there(text: str, path: Path) -> None:
    """Refuse what is nothing that a model can be loaded from.

    Raises:
        CheckpointError: a folder without weights.
        ConfigError: nothing of that name.
    """
    if text.startswith(_ELSEWHERE) or path.is_file():
        return
    if not path.is_dir():
        raise ConfigError(
            f"there is nothing at {text!r} to load: name the folder of a run, a checkpoint, an exported folder, "
            f"hf-hub:owner/name, or a backbone of ours or of timm{nearest(text, _all_backbones())}"
        )
    graphs = [name for name in _GRAPHS if (path / name).is_file()]
    if graphs and not (path / "model.safetensors").is_file():
        raise CheckpointError(
            f"{text} holds the graph {graphs[0]}, which its own runtime loads; visionattn.load takes exports of "
            "format=safetensors and format=timm"
        )
