"""Weights that are packed once for all products of inference, as long as they stay what they are.

To round and pack a float32 weight takes as long as to multiply it with the tokens of one small image. What is packed
has half the bytes of the weight. It is dropped with the parameter, and where the weight is differentiated. That a
weight has changed is seen by its address, by the version that autograd counts, and, as fused optimizers and what is
written through ``.data`` are not counted, by samples: one number at least of each of its rows and columns.

Shapes: I channels in, O channels out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Panels = TypeVar("Panels")


class Packed(NamedTuple):
    """A packed weight.

    Attributes:
        owner: the parameter, or what is left of it.
        address: of the weight's numbers.
        version: of the parameter when it was packed.
        shape: of the weight.
        panels: what was made of it.
    """

    owner: weakref.ref[Tensor]
    address: int
    version: int
    shape: torch.Size
    panels: Any


_KEPT: dict[int, Packed] = {}


def kept(weight: Tensor, pack: Callable[[Tensor], Panels], anew: bool = False) -> Panels | None:
    """The packed weight; None where it is no parameter, nor a view of all of one.

    Args:
        weight: ``(O, I)``, or that of a convolution.
        pack: packs it.
        anew: what is kept is of other numbers.
    """
    owner = weight if weight._base is None else weight._base
    if type(owner) is not nn.Parameter or owner.is_inference() or owner.numel() != weight.numel():
        return None
    place, what = id(owner), (weight.data_ptr(), owner._version, weight.shape)
    found = _KEPT.get(place)
    if anew or found is None or found.owner() is not owner or found[1:4] != what:
        reference: weakref.ref[Tensor] = weakref.ref(owner, partial(_gone, _KEPT, place))
        found = _KEPT[place] = Packed(reference, *what, pack(weight))
    panels: Panels = found.panels
    return panels


def _gone(all_kept: dict[int, Packed], place: int, _: weakref.ref[Tensor]) -> None:
    all_kept.pop(place, None)


def drop(weight: Tensor) -> None:
    """Keep nothing of a weight that is trained."""
    if _KEPT:
        _KEPT.pop(id(weight if weight._base is None else weight._base), None)
