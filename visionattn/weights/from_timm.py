"""Weights that timm publishes, fetched by timm itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.models import PretrainedCfg

from visionattn.errors import CheckpointError
from visionattn.weights.reach import why_out_of_reach
from visionattn.weights.read import StateDict
from visionattn.weights.timm_names import NotInTimm, timm_facts

_FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm itself looks for on the Hub."""


def timm_weights(card: Mapping[str, Any], num_classes: int | None, in_chans: int = 3) -> StateDict:
    """The state dict of timm's pretrained model that a backbone's card names under ``weights.timm``.

    timm downloads it or takes it from its cache. For another number of classes than the published one the classifier is
    a fresh one, and for other image channels timm adapts the first convolution.

    Args:
        card: card of the backbone; ``weights.arguments`` are further arguments of ``timm.create_model``.
        num_classes: classes of the model that is to take the weights; 0: no classifier; None: the published ones.
        in_chans: image channels of that model.

    Raises:
        CheckpointError: timm publishes no weights for this backbone, or they can be neither downloaded nor found, which
            is said within seconds.
    """
    published = card.get("weights") or {}
    name = published.get("timm")
    if name is None:
        official = published.get("official")
        hint = f"; the official weights are at {official}: download them and give the path" if official else ""
        raise CheckpointError(f"timm publishes no weights for this backbone{hint}")
    check_published(name)
    check_reach(name)
    try:
        model = timm.create_model(
            name, pretrained=True, num_classes=num_classes, in_chans=in_chans, **(published.get("arguments") or {})
        )
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"timm could not download the weights {name} ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "without a network, download them elsewhere and give the path of the file"
        ) from error
    return model.state_dict()


def check_published(name: str) -> None:
    """Refuse the name of weights that timm does not publish; nothing is fetched.

    Args:
        name: timm's, with the tag of its weights or without.

    Raises:
        CheckpointError: there are none.
    """
    published = _published(name)
    if published is not None and not published.has_weights:
        raise CheckpointError(f"timm publishes no weights for {name}; weights=FILE takes some")


def _published(name: str) -> PretrainedCfg | None:
    """What timm says of weights.

    Raises:
        CheckpointError: timm has no such network, or not with these weights.
    """
    facts = timm_facts(name)
    if isinstance(facts, NotInTimm):
        raise CheckpointError(facts.sentence)
    return facts


def check_reach(name: str) -> None:
    """Say within seconds that weights are out of reach; the Hub's own client tries again for a minute.

    Raises:
        CheckpointError: they are neither in the Hub's cache nor can it be reached.
    """
    published = _published(name)
    if published is None or not published.hf_hub_id:
        return
    place = f"{published.hf_hub_id}{name}" if str(published.hf_hub_id).endswith("/") else str(published.hf_hub_id)
    files = [published.hf_hub_filename] if published.hf_hub_filename else _FILES
    refuse(why_out_of_reach(f"timm's {name}", place, files, asked=True))


def refuse(why: str) -> None:
    """Raise what keeps weights out of reach, if anything does.

    Raises:
        CheckpointError: with what to do.
    """
    if why:
        raise CheckpointError(f"{why}; without a network, download them elsewhere and give the path of the file")
