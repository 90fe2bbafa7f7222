"""Our weights in a model of timm's: the converters of ``weights/families``, run backwards.

A converter renames tensors and reorders their numbers. Numbered positions that are sent through it show where each
number comes from. That table, read backwards, puts our numbers into the other project's tensors. So a format is
written down once.

What a timm model has to be built with is a :class:`Twin` beside the format: a file in ``weights/families`` with a list
``TWINS`` has some.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.errors import CheckpointError, ConfigError
from visionattn.weights.formats import convert
from visionattn.weights.read import StateDict

Configuration = Mapping[str, Any]
_ALWAYS_FREE = ("*.backend", "card*", "num_classes", "in_chans", "drop_rate", "drop_path_rate")


@dataclass(frozen=True)
class Twin:
    """timm's code for one family, and what of our configuration it can express.

    Attributes:
        title: how messages call it.
        like: the backbone of ours that stands for the family.
        architecture: timm's entry point for ``like``.
        free: patterns of the keys in which a configuration may differ from ``like``.
        arguments: called with our configuration and the image size, gives what timm's entry point takes.
    """

    title: str
    like: str
    architecture: str
    free: Sequence[str]
    arguments: Callable[[Configuration, tuple[int, int]], dict[str, Any]]


@cache
def all_twins() -> tuple[Twin, ...]:
    """The twins of all files in ``weights/families``."""
    package = import_module("visionattn.weights.families")
    modules = [import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    return tuple(twin for module in modules for twin in getattr(module, "TWINS", ()))


def obstacles(twin: Twin, ours: Configuration, like: Configuration) -> list[str]:
    """Why timm's code cannot be our model: one line for each key; empty where it can.

    Args:
        twin: timm's code.
        ours: the resolved configuration of a backbone.
        like: that of ``twin.like``.
    """
    patterns = dict(_leaves(like))
    stages = sorted({key.split(".")[1] for key in patterns if key.startswith("mixers.")})
    lines = []
    for key, value in sorted(_leaves(ours)):
        model = key
        if key.startswith("mixers."):  # any stage may stand for one that `like` has not
            stage, _, rest = key.removeprefix("mixers.").partition(".")
            model = f"mixers.{stage if stage in stages else stages[0]}.{rest}"
        if any(fnmatch(key, pattern) for pattern in (*twin.free, *_ALWAYS_FREE)):
            continue
        if model not in patterns:
            lines.append(f"{key}={value} (timm's has no such key)")
        elif patterns[model] != value:
            lines.append(f"{key}={value} (timm's: {patterns[model]})")
    return lines


def put_into(theirs: nn.Module, ours: StateDict) -> None:
    """Puts our weights into a timm model, under its names and in its layouts.

    A position table of ours that is larger than timm's, which builds windows no larger than the map, gives its middle:
    the offsets that occur there.

    Args:
        theirs: timm's model, built by a :class:`Twin`'s arguments.
        ours: state dict of our model, with its classifier.

    Raises:
        CheckpointError: timm's model has no counterpart for some weight; the message lists every one.
    """
    state = theirs.state_dict()
    positions = {name: torch.arange(t.numel(), dtype=torch.float64).view(t.shape) for name, t in state.items()}
    converted = convert(positions, ours)
    problems = [f"{name} has no counterpart in timm's model" for name in ours if name not in converted.state]
    problems += [f"timm's {name} has no counterpart in this model" for name in converted.unknown]
    for name, position in converted.state.items():
        old = converted.origin[name]
        if name not in ours:
            problems.append(f"timm's {old} corresponds to {name}, which this model does not have")
            continue
        numbers = _middle(ours[name], position.shape)
        if numbers is None or position.numel() != state[old].numel():
            problems.append(f"{name} {tuple(ours[name].shape)} does not fit timm's {old} {tuple(state[old].shape)}")
            continue
        state[old] = _scattered(numbers, position, state[old])
    if problems:
        raise CheckpointError(
            f"{len(problems)} weights do not go into timm's model ({converted.title}):\n  " + "\n  ".join(problems)
        )
    theirs.load_state_dict(state)


def _scattered(numbers: Tensor, position: Tensor, like: Tensor) -> Tensor:
    flat = torch.empty(like.numel(), dtype=like.dtype)
    flat[position.flatten().long()] = numbers.flatten().to(like.dtype)
    return flat.view(like.shape)


def _middle(tensor: Tensor, shape: Sequence[int]) -> Tensor | None:
    """The tensor itself, or the middle of a table ``(N, rows, columns)`` of which fewer rows and columns are wanted."""
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    excess = [have - want for have, want in zip(tensor.shape, shape, strict=True)] if tensor.ndim == len(shape) else [1]
    if tensor.ndim != 3 or excess[0] or min(excess) < 0 or any(e % 2 for e in excess):
        return None
    rows, columns = (slice(e // 2, e // 2 + want) for e, want in zip(excess[1:], shape[1:], strict=True))
    return tensor[:, rows, columns]


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def doubling(ours: Configuration) -> int:
    """The width of the first stage, where every stage is twice as wide as the one before.

    Raises:
        ConfigError: other widths.
    """
    dims = list(ours["dims"])
    if dims != [dims[0] * 2**i for i in range(len(dims))]:
        raise ConfigError(f"timm's model of this family doubles its width from stage to stage, dims={dims} does not")
    return int(dims[0])


def one_for_all(ours: Configuration, *path: str) -> Any:
    """The value of a mixer's key, where all stages have the same one.

    Raises:
        ConfigError: they have not.
    """
    values = per_stage(ours, *path)
    if any(value != values[0] for value in values):
        raise ConfigError(f"timm's model of this family has one {path[-1]} for all stages, this one has {values}")
    return values[0]


def per_stage(ours: Configuration, *path: str) -> list[Any]:
    """The value of a mixer's key in each stage."""
    nodes = []
    for stage in range(len(ours["dims"])):
        node: Any = ours["mixers"][f"s{stage + 1}"]
        for key in path:
            node = node[key]
        nodes.append(node)
    return nodes
