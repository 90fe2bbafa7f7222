"""One launch of one kernel, with everything but the tensors fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Launch:
    """A kernel, its grid, its numbers and its compile-time constants; a call adds the tensors and launches it.

    Args:
        kernel: a function of Triton whose parameters are pointers, then numbers, then constants.
        grid: number of programs, per dimension of the grid.
        numbers: the arguments after the pointers.
        constants: the compile-time constants and the options ``num_warps``, ``num_stages``, ... by name.
    """

    def __init__(
        self, kernel: Any, grid: tuple[int, ...], numbers: tuple[int | float, ...], constants: Mapping[str, Any]
    ):
        self.kernel = kernel
        self.grid = grid
        self.numbers = numbers
        self.constants = dict(constants)

    def __call__(self, *tensors: Tensor) -> None:
        """Launch on the current device and stream."""
        self.kernel[self.grid](*tensors, *self.numbers, **self.constants)
