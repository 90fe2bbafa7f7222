"""What timm calls its networks and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg


@dataclass(frozen=True)
class NotInTimm:
    """A name that timm does not have.

    Attributes:
        sentence: what is missing.
        name: what to look up a near name for.
        known: the names that there are.
        listed: whether they are few enough to be listed.
    """

    sentence: str
    name: str
    known: Sequence[str]
    listed: bool = False


def timm_facts(name: str) -> PretrainedCfg | NotInTimm | None:
    """What timm says of a network, or of one of its weights; None: nothing is published for it.

    Args:
        name: ``resnet18``, or with the tag of weights ``resnet18.a1_in1k``.
    """
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        return NotInTimm(f"timm has no network {network!r}", network, timm.list_models())
    try:
        return get_pretrained_cfg(name)
    except RuntimeError:
        known = timm.list_models(f"{network}.*", pretrained=True)
        return NotInTimm(f"timm has no weights {tag!r} of {network}", name, known, listed=True)
