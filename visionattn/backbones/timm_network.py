"""A network of timm by its name: checked, and built for images of any size."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor

from visionattn.backbones import zoo
from visionattn.config.messages import nearest
from visionattn.config.targets import FETCHING_ARGUMENTS
from visionattn.errors import ConfigError

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
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        raise ConfigError(f"timm has no network {name!r}{nearest(name, timm.list_models())}")
    tagged = timm.list_models(f"{name}.*", pretrained=True) if tag else [model]
    if model not in tagged:
        raise ConfigError(
            f"timm has no weights {tag!r} of {name}{nearest(model, tagged)} (it has {', '.join(tagged) or 'none'})"
        )


def timm_network(model: str, *, arguments: Mapping[str, Any], **sizes: Any) -> Any:
    """Build a network of timm, for images of any size where it can.

    Args:
        model: timm's name.
        arguments: the user's, of ``timm.create_model``.
        **sizes: ``in_chans``, ``num_classes`` and what else is set by us.

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
        known = inspect.signature(type(drawn).__init__).parameters
        flexible: dict[str, Any] = {key: v for key, v in _ANY_SIZE.items() if key in known and key not in arguments}
        return timm.create_model(model, **given, **flexible)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"timm's {model} does not take {given}: {str(error).splitlines()[0]}") from error


def classifiers_of(network: Any) -> tuple[str, ...]:
    """Names of the layers that give the logits."""
    named = network.pretrained_cfg.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def resized_state(network: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of another image size or of other image channels, brought to those of a network as timm itself does it.

    Args:
        network: that is to take them.
        state: under timm's names.
    """
    own, state = network.state_dict(), dict(state)
    convolutions = network.pretrained_cfg.get("first_conv") or ()
    for layer in (convolutions,) if isinstance(convolutions, str) else convolutions:
        name = f"{layer}.weight"
        if name in state and name in own and state[name].ndim == 4 and state[name].shape[1] == 3 != own[name].shape[1]:
            state[name] = adapt_input_conv(own[name].shape[1], state[name])
    if all(state[name].shape == own[name].shape for name in state if name in own):
        return state
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        return state if adapt is None else dict(adapt(dict(state), network))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return state  # what does not fit is listed by the caller
