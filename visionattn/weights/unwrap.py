"""The weights in a checkpoint, out of what training scripts put around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from visionattn.errors import CheckpointError
from visionattn.weights.formats import naming_of
from visionattn.weights.read import StateDict, read_checkpoint
from visionattn.weights.whole_models import format_of_whole

_AVERAGED = ("state_dict_ema", "model_ema", "ema_model", "params_ema")
_WRAPPERS = (*_AVERAGED, "state_dict", "model_state_dict", "model", "module", "net", "params")
"""Entries that hold weights, those of averaged weights first."""
_PREFIXES = ("module.", "_orig_mod.", *(f"{name}." for name in _AVERAGED), "model.", "net.")
_PARTS = (*_PREFIXES, "network.", "encoder.")
"""Prefixes below which a model may be, beside other things."""
_OURS = ("stem.", "backbone.stem.")


@dataclass
class Unwrapped:
    """Weights without what stood around them.

    Attributes:
        state: name -> tensor, without the prefixes of DDP, ``torch.compile`` and other wrappers.
        averaged: what held them, where that is averaged weights and there are others too; else empty.
        left_out: names of tensors beside the model.
    """

    state: StateDict
    averaged: str = ""
    left_out: list[str] = field(default_factory=list)

    @property
    def around(self) -> tuple[str, list[str]]:
        """What a report tells of it."""
        return self.averaged, self.left_out


def read_state_dict(source: str | Path | Mapping[str, Any]) -> StateDict:
    """The weights in a checkpoint or mapping, as :func:`unwrapped` finds them."""
    return unwrapped(source if isinstance(source, Mapping) else read_checkpoint(source)).state


def unwrapped(contents: Mapping[str, Any]) -> Unwrapped:
    """The weights in the contents of a checkpoint.

    They come from the entries of averaged weights, ``state_dict`` or ``model``, in this order, as timm takes them. Of a
    module of Lightning's with a model, an averaged one and a loss, each under a prefix, the averaged one is taken.

    Raises:
        CheckpointError: there are no tensors in it.
    """
    averaged, left_out = "", list[str]()
    for wrapper in _WRAPPERS:
        if isinstance(contents.get(wrapper), Mapping):
            others = [name for name in _WRAPPERS if name != wrapper and isinstance(contents.get(name), Mapping)]
            averaged = wrapper if wrapper in _AVERAGED and others else averaged
            contents = contents[wrapper]
    state = {name: value for name, value in contents.items() if isinstance(value, Tensor)}
    if not state:
        entries = ", ".join(map(str, list(contents)[:8]))
        raise CheckpointError(f"there are no tensors in it; its entries are {entries}" if entries else "it is empty")
    while prefix := _prefix_of_model(state):
        beside = [name for name in state if not name.startswith(prefix)]
        if beside and prefix.removesuffix(".") in _AVERAGED:
            averaged = prefix.removesuffix(".")
        left_out += beside
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return Unwrapped({name.replace("._orig_mod.", "."): x for name, x in state.items()}, averaged, left_out)


def _prefix_of_model(state: StateDict) -> str:
    """The prefix that all names have; else the one that a known model has where tensors lie beside it; else empty."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return prefix
    if _known(list(state)):
        return ""
    below = {prefix: [name.removeprefix(prefix) for name in state if name.startswith(prefix)] for prefix in _PARTS}
    return next((prefix for prefix, names in below.items() if _known(names)), "")


def _known(names: list[str]) -> bool:
    return naming_of(names) is not None or format_of_whole(names) is not None or any(n.startswith(_OURS) for n in names)
