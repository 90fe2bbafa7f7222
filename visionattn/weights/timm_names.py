"""What timm calls its networks and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg

from visionattn.errors import did_you_mean, near_names

OURS = "va_"
"""How the names of our backbones begin where timm lists them."""
_NAMED = 3
"""Names that a message gives."""


@dataclass(frozen=True)
class NotInTimm:
    """A name that timm does not have.

    Attributes:
        missing: what is missing, as a clause.
        name: that was given.
        known: the names that there are.
        listed: a call that lists them.
    """

    missing: str
    name: str
    known: Sequence[str]
    listed: str

    @property
    def sentence(self) -> str:
        """What is missing, the nearest of the names that there are, and how to see them all."""
        close = near_names(self.name, self.known, _NAMED)
        shown = close or list(self.known)[: _NAMED if len(self.known) <= _NAMED else 0]
        hint = did_you_mean(self.name, close, _NAMED) or (f"; it has {', '.join(shown)}" if shown else "")
        more = f" (all {len(self.known):,}: {self.listed})" if len(self.known) > len(shown) else ""
        return f"{self.missing}{hint}{more}"


def timm_facts(name: str) -> PretrainedCfg | NotInTimm | None:
    """What timm says of a network, or of one of its weights; None: nothing is published for it.

    Args:
        name: ``resnet18``, or with the tag of weights ``resnet18.a1_in1k``.
    """
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        return NotInTimm(f"timm has no network {network!r}", network, networks(), "timm.list_models()")
    try:
        return get_pretrained_cfg(name)
    except RuntimeError:
        known = timm.list_models(f"{network}.*", pretrained=True)
        call = f'timm.list_models("{network}.*", pretrained=True)'
        return NotInTimm(f"timm has no weights {tag!r} of {network}", name, known, call)


def networks() -> list[str]:
    """Names of timm's networks, without ours, which are registered among them."""
    return [name for name in timm.list_models() if not name.startswith(OURS)]
