"""Whether weights of one of our runs, or of an export, belong to the backbone that is to take them.

Names and shapes of the tensors do not tell: a window and a neighborhood have the same parameters. The configuration of
the run does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from visionattn.config.catalog import choices, read, source_file
from visionattn.config.composing import compose
from visionattn.config.differing import told_settings, values_differing
from visionattn.config.messages import plain
from visionattn.config.renames import with_new_names
from visionattn.config.stored import parse_config

if TYPE_CHECKING:
    from visionattn.weights import Source

_FREE = ("num_classes", "in_chans", "drop_path_rate", "drop_rate", "card", "pretrained")
"""Keys of a backbone that belong to a training or to the images, or that the shapes tell."""


def trained_backbone(source: Source) -> dict[str, Any] | None:
    """The configuration of the backbone that weights were trained in; None where nothing says.

    Raises:
        CheckpointError: the configuration with them is none that a run writes.
    """
    if source.config is not None:
        contents = plain(parse_config(source.config, source.origin))
        return contents.get("backbone") if isinstance(contents.get("backbone"), dict) else None
    if source.architecture is None:
        return None
    name, changes = source.architecture["name"], source.architecture.get("changes")
    if isinstance(changes, dict):
        return with_new_names(changes)
    return plain(compose("backbone_only", [f"backbone={name}"]).backbone) if name in choices("backbone") else None


def backbone_name(source: Source) -> str | None:
    """Name of the backbone that weights were trained in; None where nothing says."""
    if source.config is not None:
        name = parse_config(source.config, source.origin).get("backbone_name")
        return str(name) if name is not None else None
    return str(source.architecture["name"]) if source.architecture is not None else None


def classes_of(source: Source) -> int:
    """Number of classes that the weights of a run or an export tell apart; 1000 where nothing says."""
    if source.config is not None and any(name.startswith("head.classifier.") for name in source.state):
        return int(parse_config(source.config, source.origin).task.get("num_classes") or 1000)
    return int(source.facts.get("num_classes") or 1000)


def architecture_differences(trained: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """What a model computes in another way than the one that its weights were trained in, stage by stage.

    Args:
        trained: configuration of the backbone of the run.
        model: configuration of the backbone that takes the weights.
    """
    ours, theirs = dict(trained), dict(model)
    stages = [dict(one.pop("mixers", None) or {}) for one in (ours, theirs)]
    lines = []
    for stage in dict.fromkeys([*stages[0], *stages[1]]):
        lines += [f"stage {stage}: {line}" for line in _mixers(stages[0].get(stage), stages[1].get(stage))]
    kept = [{key: value for key, value in one.items() if key not in _FREE} for one in (ours, theirs)]
    return lines + values_differing(kept[0], kept[1])


def _mixers(trained: Any, model: Any) -> list[str]:
    ours, theirs = (one if isinstance(one, Mapping) else {} for one in (trained, model))
    if ours.get("_target_") != theirs.get("_target_"):
        return [f"the weights were trained with {_mixer(ours)}, the model has {_mixer(theirs)}"]
    return values_differing(ours, theirs)


def _mixer(node: Mapping[str, Any]) -> str:
    """Name of a mixer as its file is called, with its first settings: ``window (window_size 7)``."""
    if not node:
        return "none"
    target = str(node.get("_target_"))
    named = (name for name in choices("mixer") if "/" not in name and _target_of(name) == target)
    told = told_settings(node)
    settings = f" ({', '.join(told[:2])})" if told else ""
    return f"{next(named, target.rpartition('.')[2])}{settings}"


def _target_of(name: str) -> str:
    file = source_file(f"mixer/{name}.yaml")
    return str(read(file).get("_target_")) if file is not None else ""
