"""The tree of a backbone: stages, blocks and their parts, each with its arguments, output shape, size and cost.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from timm.layers import DropPath
from torch import Tensor, nn

from visionattn.backbones.cost import count_macs, count_parameters

_PLAIN = (bool, int, float, str)
_INACTIVE = (nn.Identity, nn.Dropout, DropPath)  # the identity outside of training
_TECHNICAL = {"training", "grad_checkpointing", "inplace", "transposed", "output_padding", "padding_mode"}
_TECHNICAL |= {"add_maxpool", "use_conv", "input_fmt"}  # of timm's modules


@dataclass(frozen=True)
class Part:
    """A module of a model, or several equal ones under one parent.

    Attributes:
        names: of the equal modules, relative to their parent: ``blocks.0``, ``blocks.2``.
        kind: class name.
        arguments: plain attributes of the module (numbers, strings, tuples of them), as resolved when it was built.
        weights: shapes of the parameters that the module owns itself.
        shape: of the output without the batch: ``(H, W, C)`` from stem to norm, ``(C, H, W)`` inside convolutions; None
            where the output is not one tensor, or the module was not called as such.
        params: scalars in the parameters of all modules that this part stands for: ``norm1`` and ``norm2`` of three
            equal blocks are six modules. The parts inside a part sum up to it.
        macs: multiply-adds of all these modules for one image.
        parts: the modules inside.
    """

    names: tuple[str, ...]
    kind: str
    arguments: Mapping[str, Any]
    weights: Mapping[str, tuple[int, ...]]
    shape: tuple[int, ...] | None
    params: int
    macs: int
    parts: tuple[Part, ...] = ()


def describe(model: nn.Module, input_size: Sequence[int]) -> Part:
    """Describe a model from top to bottom; it runs once, on shapes alone (torch's meta device).

    Args:
        model: a backbone on any device, the meta device too.
        input_size: ``(C, H, W)`` of the image.

    Returns:
        The whole model. Equal modules under one parent are one :class:`Part`, at the position of the first.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[module] = tuple(output.shape[1:])

    handles = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        macs = count_macs(model, input_size)
    finally:
        for handle in handles:
            handle.remove()
    return _describe(model, "", "", macs, shapes)


def _describe(
    module: nn.Module, path: str, name: str, macs: Mapping[str, int], shapes: Mapping[nn.Module, tuple[int, ...]]
) -> Part:
    inner = _folded(
        _describe(child, f"{path}.{below}".lstrip("."), below, macs, shapes) for below, child in _children(module)
    )
    return Part(
        names=(name,),
        kind=type(module).__name__,
        arguments={key: value for key, value in vars(module).items() if _is_argument(key, value)},
        weights={key: tuple(weight.shape) for key, weight in module.named_parameters(recurse=False)},
        shape=shapes.get(module),
        params=count_parameters(module),
        macs=macs.get(path, sum(part.macs for part in inner)),  # a module may be used without being called
        parts=tuple(inner),
    )


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules inside, those of a list one by one; without those that only matter in training."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{below}", inner) for below, inner in _children(child))
        elif not isinstance(child, _INACTIVE):
            yield name, child


def _is_argument(name: str, value: Any) -> bool:
    plain = isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value))
    return plain and not name.startswith("_") and name not in _TECHNICAL


def _folded(parts: Iterator[Part]) -> list[Part]:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(repr(replace(part, names=())), []).append(part)
    return [
        replace(
            group[0],
            names=tuple(part.names[0] for part in group),
            params=sum(part.params for part in group),
            macs=sum(part.macs for part in group),
            parts=tuple(_times(part, len(group)) for part in group[0].parts),
        )
        for group in groups.values()
    ]


def _times(part: Part, count: int) -> Part:
    """The part in ``count`` equal modules."""
    inner = tuple(_times(below, count) for below in part.parts)
    return replace(part, params=count * part.params, macs=count * part.macs, parts=inner)
