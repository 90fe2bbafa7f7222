"""Other projects' names for the same weights.

A :class:`Format` says how it is recognized, by the names in a state dict and never by the name of a model, and how each
of its entries becomes ours: a list of :class:`Rule`. A new one is a file in ``weights/families`` with a list
``FORMATS``; listing that folder is the registration.

Shapes: N heads, P positions, wh ww window.
"""

from __future__ import annotations

import math
import pkgutil
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from visionattn.errors import CheckpointError
from visionattn.weights.read import StateDict

NewName = str | Callable[[re.Match[str]], str] | None
NewValue = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rule:
    r"""What becomes of the entries whose whole name matches ``pattern``.

    Attributes:
        pattern: regular expression for the whole name.
        name: our name, as a template with ``\1`` for the groups or a function of the match; None: the entry is not a
            parameter (an index, a mask) and is left out.
        value: changes the layout, called with the tensor and the model's own tensor under the new name.
    """

    pattern: str
    name: NewName
    value: NewValue | None = None


@dataclass(frozen=True)
class Format:
    """One project's naming of one family.

    Attributes:
        title: how messages call it.
        recognizes: whether these names are of this format.
        rules: tried in order; the first that matches decides.
        prepare: rearranges the whole state dict before the rules, where an entry of ours is made of several of theirs.
        convention: what a head's ``convention`` has to be for the weights to give what they gave there; None: any.
    """

    title: str
    recognizes: Callable[[Collection[str]], bool]
    rules: Sequence[Rule]
    prepare: Callable[[StateDict], StateDict] | None = None
    convention: str | None = None


@dataclass
class Converted:
    """A state dict under our names.

    Attributes:
        title: the format it came in.
        state: our name -> tensor.
        origin: our name -> its name in the checkpoint.
        unknown: names that no rule matches.
    """

    title: str
    state: StateDict = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


@cache
def all_formats() -> tuple[Format, ...]:
    """The formats of all files in ``weights/families``."""
    package = import_module("visionattn.weights.families")
    modules = [import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    return tuple(entry for module in modules for entry in module.FORMATS)


def naming_of(names: Collection[str]) -> str | None:
    """The title of the format that recognizes the names of a state dict; None: none does."""
    return next((entry.title for entry in all_formats() if entry.recognizes(names)), None)


def convert(state: StateDict, wanted: StateDict) -> Converted:
    """Rename a state dict to our names; one that no format recognizes is taken to have them already.

    Args:
        state: the checkpoint.
        wanted: the model's own state dict.

    Raises:
        CheckpointError: more than one format recognizes it, two entries get one name, or a tensor does not have the
            shape its format prescribes.
    """
    matches = [entry for entry in all_formats() if entry.recognizes(state.keys())]
    if not matches:
        return Converted("visionattn", dict(state), {name: name for name in state})
    if len(matches) > 1:
        raise CheckpointError(
            f"the checkpoint could be of several formats: {', '.join(entry.title for entry in matches)}"
        )
    return converted(matches[0], state, wanted)


def converted(entry: Format, state: StateDict, wanted: StateDict) -> Converted:
    """What one format makes of a state dict; raises as :func:`convert`."""
    result = Converted(entry.title)
    rules = [(re.compile(rule.pattern), rule) for rule in entry.rules]
    for old, tensor in (entry.prepare(dict(state)) if entry.prepare else state).items():
        match, rule = next(((m, rule) for pattern, rule in rules if (m := pattern.fullmatch(old))), (None, None))
        if match is None or rule is None:
            result.unknown.append(old)
            continue
        if rule.name is None:
            continue
        new = rule.name(match) if callable(rule.name) else match.expand(rule.name)
        if new in result.state:
            raise CheckpointError(f"{old} and {result.origin[new]} of the checkpoint both are {new} in the model")
        if rule.value is not None and new in wanted:
            tensor = rule.value(tensor, wanted[new])
        result.state[new], result.origin[new] = tensor, old
    return result


def flat_table(query_minus_key: bool = True) -> NewValue:
    """Position tables stored as ``(P, N)`` -> ours, ``(N, 2*wh-1, 2*ww-1)`` by key minus query.

    P is ``(2*wh-1) * (2*ww-1)``; the sides are the model's where that is their product, else those of a square.

    Args:
        query_minus_key: the stored offsets are query minus key, as in Swin and everything made from it.
    """

    def convert_table(table: Tensor, wanted: Tensor) -> Tensor:
        positions = table.shape[0]
        sides = tuple(wanted.shape[-2:])
        if math.prod(sides) != positions:
            sides = (math.isqrt(positions),) * 2
        if table.ndim != 2 or math.prod(sides) != positions:
            raise CheckpointError(
                f"a position table of shape {tuple(table.shape)} is neither square nor of the model's "
                f"{tuple(wanted.shape[-2:])} positions"
            )
        ours = table.t().reshape(table.shape[1], *sides)
        return ours.flip(1, 2) if query_minus_key else ours

    return convert_table


def as_linear(weight: Tensor, wanted: Tensor) -> Tensor:
    """A pointwise convolution's weight as a linear layer's; other tensors as they are."""
    return weight.flatten(1) if weight.ndim == 4 and wanted.ndim == 2 else weight


def with_counters(state: StateDict) -> StateDict:
    """The same with the counters of batch norms, zero where a list of weights leaves them out."""
    counters = {name.replace("running_mean", "num_batches_tracked") for name in state if name.endswith("running_mean")}
    return state | {name: torch.tensor(0) for name in counters if name not in state}


def later_stage(prefix: str) -> Callable[[re.Match[str]], str]:
    """For a downsampling layer that the other project keeps at the end of a stage; ours starts the next stage.

    The first group is the stage, the second the rest of the name; ``prefix`` stands before the rest.
    """
    return lambda match: f"stages.{int(match[1]) + 1}.{prefix}{match[2]}"
