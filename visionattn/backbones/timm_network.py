"""A network of timm by its name: checked, and built for images of any size."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import timm
import torch

from visionattn.backbones import zoo
from visionattn.config.targets import FETCHING_ARGUMENTS
from visionattn.errors import ConfigError
from visionattn.weights.timm_names import NotInTimm, timm_facts

_ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True, "strict_img_size": False}
"""Arguments of timm's networks that let them take images of any size, where a network has them."""


def timm_name(text: str) -> str | None:
    """The network of timm that a name means: ``timm/NAME``, or a name that timm has and we have not; None: none."""
    scheme, slash, rest = text.partition("/")
    if slash and scheme == "timm":
        return rest
    known = text not in zoo.backbone_files() and not text.startswith(zoo.PREFIX)
    return text if known and timm.is_model(text.partition(".")[0]) else None


def check_timm_name(model: str) -> None:
    """Make sure that timm has a network of that name.

    Raises:
        ConfigError: it has none, or not with these weights; names the nearest.
    """
    facts = timm_facts(model)
    if isinstance(facts, NotInTimm):
        raise ConfigError(facts.sentence)


def timm_network(model: str, *, arguments: Mapping[str, Any], **sizes: Any) -> tuple[Any, bool]:
    """Build a network of timm, for images of any size where it can.

    Args:
        model: timm's name.
        arguments: the user's, of ``timm.create_model``.
        **sizes: ``in_chans``, ``num_classes`` and what else is set by us.

    Returns:
        The network, and whether its final norm goes with its maps; Hiera's is behind the pooling, and SAM has a neck
        in its place.

    Raises:
        ConfigError: timm has no such network, an argument does not fit, or it would read a file.
    """
    check_timm_name(model)
    refused = next((key for key in arguments if key in (*FETCHING_ARGUMENTS, *sizes, "pretrained", "cache_dir")), None)
    if refused is not None:
        hint = f"backbone.{refused}= sets it" if refused in sizes else "weights=... loads weights"
        raise ConfigError(f"backbone.arguments takes no {refused}: {hint}")
    given = {**sizes, **arguments}
    try:
        with torch.device("meta"):
            drawn = timm.create_model(model, **given)
        known = _arguments_of(type(drawn))
        flexible: dict[str, Any] = {key: v for key, v in _ANY_SIZE.items() if key in known and key not in arguments}
        return timm.create_model(model, **given, **flexible), _gives(drawn, True) or not _gives(drawn, False)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"timm's {model} does not take {given}: {str(error).splitlines()[0]}") from error


def _arguments_of(kind: type) -> set[str]:
    """What a class takes, with what it hands on to the classes that it extends."""
    known: set[str] = set()
    for one in kind.__mro__:
        parameters = inspect.signature(one).parameters.values() if "__init__" in vars(one) else ()
        known |= {parameter.name for parameter in parameters}
        if parameters and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return known


def _gives(drawn: Any, norm: bool) -> bool:
    """Whether a network on device ``meta`` gives maps of the channels that it declares, with its norm or without."""
    if not hasattr(drawn, "forward_intermediates"):
        return False
    images = torch.empty(2, *drawn.pretrained_cfg["input_size"], device="meta")
    try:
        maps = drawn.forward_intermediates(images, norm=norm, intermediates_only=True)
    except (AssertionError, RuntimeError):
        return False
    return [one.shape[1] for one in maps] == [info["num_chs"] for info in drawn.feature_info]
