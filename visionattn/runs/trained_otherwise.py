"""What a task computes otherwise than the model that its weights were trained in, where names and shapes do not tell.

A run of ours and its exports hold their configuration, and weights of timm the mean and deviation of their images. What
differs is told: windows, dilation, anchors or the images may be other ones on purpose. One difference is refused: boxes
of another convention are wrong from the first image on, and nobody means that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from visionattn.backbones.trained import architecture_differences, trained_backbone
from visionattn.config.differing import UNSAID, said, values_differing
from visionattn.config.messages import plain
from visionattn.config.stored import parse_config
from visionattn.errors import counted
from visionattn.runs.class_names import nameless
from visionattn.weights import Source
from visionattn.weights.whole_models import check_convention

_HEAD_FREE = (
    *("masks", "class_agnostic", "drop_rate", "auxiliary", "channels", "width", "mask_channels", "branch_channels"),
    *("box_loss", "overlaps", "loss_weights", "class_weight", "mask_weight", "dice_weight", "no_object_weight"),
    *("num_points", "sampled", "mask_sampled", "before_nms", "after_nms", "topk"),
    *("score_threshold", "nms_threshold", "per_image"),
)
"""Keys of a head that the shapes tell, that training alone reads, or that choose among what was found."""
_NAMED = 3
"""Classes that a sentence names."""


def check_head(source: Source, head: nn.Module) -> None:
    """Refuse the head of a run of ours whose boxes are of another convention.

    Raises:
        CheckpointError: with what to give.
    """
    trained = _part(_trained(source), "head")
    convention = said(trained, "convention")
    if convention is not UNSAID:
        check_convention("a run", str(convention), head)


def differences_from_training(
    source: Source, config_text: str, whole: bool, class_names: Callable[[], Sequence[str]] | None = None
) -> list[str]:
    """A sentence for everything that the model computes otherwise than the one that the weights were trained in.

    Args:
        source: of the weights.
        config_text: the configuration of the task that takes them; empty: it has none, and nothing is compared.
        whole: its head takes weights too.
        class_names: gives the names of its classes; None: they are not known.
    """
    if not config_text:
        return []
    model, trained = plain(parse_config(config_text, "this command")), _trained(source)
    backbone = trained_backbone(source)
    lines = [] if backbone is None else architecture_differences(backbone, _part(model, "backbone"))
    if whole:
        lines += values_differing(_part(trained, "head"), _part(model, "head"), _HEAD_FREE, "head.")
    images, ours = _images(_part(trained, "data") or source.facts), _images(_part(model, "data"))
    lines += values_differing(images, ours, prefix="data.")
    if whole and class_names is not None and source.class_names:
        lines += _classes(source.class_names, class_names())
    return lines


def _trained(source: Source) -> Mapping[str, Any]:
    """The configuration of the run that weights are of; empty: of none."""
    return {} if source.config is None else dict(plain(parse_config(source.config, source.origin)))


def _part(configuration: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = configuration.get(name)
    return part if isinstance(part, Mapping) else {}


def _images(data: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean and deviation that images are normalized with, as far as they are said."""
    given = {name: said(data, name) for name in ("mean", "std")}
    return {name: [float(x) for x in value] for name, value in given.items() if isinstance(value, (list, tuple))}


def _classes(trained: Sequence[str], own: Sequence[str]) -> list[str]:
    """What the head's outputs stood for, where there are as many of them and both have names."""
    if len(trained) != len(own) or nameless(trained) or nameless(own):
        return []
    moved = [f"{i} was {a}, is {b}" for i, (a, b) in enumerate(zip(trained, own, strict=True)) if a != b]
    if not moved:
        return []
    shown = ", ".join(moved[:_NAMED]) + (", ..." if len(moved) > _NAMED else "")
    return [f"{counted(len(moved), 'class', 'classes')} of the head stood for others in the training: {shown}"]
