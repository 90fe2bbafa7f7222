"""Plain code in the place of a kernel that this machine cannot build or start.

``toolchain`` asks once whether Triton works at all. A single kernel can fail where others run: it takes more shared
memory than a card has, or a compiler has a fault. Then the call, and all later ones of maps of that shape, take torch's
operators inside the same registered op, eager or in a compiled graph, with one warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from visionattn.kernels.eager import autocast_disabled

A = ParamSpec("A")
R = TypeVar("R")


class SlowerCode(RuntimeWarning):
    """Plain code takes the place of a kernel: results are the same up to rounding, and take longer."""


@contextmanager
def without_fallback() -> Iterator[None]:
    """Within it a kernel that fails is an error, a :class:`SlowerCode`: for measurements of kernels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowerCode)
        yield


class KernelFailed(RuntimeError):
    """A kernel that cannot be built or started here; the message says why.

    Attributes:
        told: whether a warning has said so.
    """

    told = False


class Fallback:
    """What one operator does without its kernels, in its forward and its backward.

    What a kernel's forward leaves to a kernel's backward beside the output is not what plain code leaves. So a map's
    shape that failed in the forward takes plain code in the backward as well, which needs the inputs alone.

    Args:
        operator: its name in the plural, for the warning.
    """

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.failed: set[tuple[object, ...]] = set()

    def __call__(self, kernel: Callable[A, R], plain: Callable[A, R], place: int) -> Callable[A, R]:
        """``kernel``, and ``plain`` for maps with which it failed; the map is argument number ``place``."""

        def run(*given: A.args, **named: A.kwargs) -> R:
            of_map: Any = given[place]
            if not self.failed or _kind(of_map) not in self.failed:
                try:
                    return kernel(*given, **named)
                except KernelFailed as error:
                    self.note(_kind(of_map), error)
            with autocast_disabled(of_map.device):
                return plain(*given, **named)

        return run

    def note(self, kind: tuple[object, ...], error: KernelFailed) -> None:
        """Remember the maps with which a kernel failed; warn if nobody has."""
        if not error.told:
            warnings.warn(f"{self.operator} on {kind[-1]} take slower code: {error}", SlowerCode, stacklevel=2)
        error.told = True
        self.failed.add(kind)


def _kind(x: Tensor) -> tuple[object, ...]:
    return tuple(x.shape), x.dtype, x.device
