"""Which keys a query sees: the one statement of it, used by every backend.

Both ops are separable. On each axis a query sees a run of consecutive keys of its own dilation group, and on the map
it sees the product of the two runs. :meth:`AxisRule.runs` computes the runs; no other Python code of the kernel layer
states the rules (Triton and C++ restate them in their own languages, and tests compare them with these).

    position p on an axis of length L, dilation d:   group g = p mod d,  coordinate c = p // d,  group length n =
                                                     ceil((L - g) / d)
    visible keys of p:                               positions g + d * j  for  start <= j < start + extent

Window partition, as in Swin (Liu et al., 2021, arXiv 2103.14030) and, dilated, MaxViT's grid (Tu et al., 2022, arXiv
2204.01697): lines stand at ``shift``, ``shift + size``, ... and windows are cut by the border of the group, so the
first one covers [0, shift) when ``shift > 0``. On a map that the window divides this is what rolling the map by
``-shift``, partitioning and masking computes.

Neighborhood, as in Generalized Neighborhood Attention (Hassani et al., 2025, arXiv 2504.16922): always exactly ``size``
keys; the run is centered on the leader of the query's stride group and moves inward at the border. An even size has
one more key on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Pair = int | Sequence[int]
Group = TypeVar("Group", int, Tensor)


class Spans(NamedTuple):
    """Group of each position of an axis, coordinate in the group, and run of keys: int64 tensors ``(L,)``."""

    group: Tensor
    coordinate: Tensor
    start: Tensor
    extent: Tensor


@dataclass(frozen=True)
class AxisRule:
    """The rule of one axis: a window partition with lines at ``shift`` if ``stride`` is 0, otherwise a neighborhood."""

    size: int
    dilation: int = 1
    shift: int = 0
    stride: int = 0

    @property
    def is_window(self) -> bool:
        return self.stride == 0

    def encode(self) -> list[int]:
        """The four numbers, in field order, as registered ops take them."""
        return [self.size, self.dilation, self.shift, self.stride]

    def spans(self, length: int, device: torch.device | None = None) -> Spans:
        """The run of visible keys of each of the ``length`` positions."""
        position = torch.arange(length, device=device)
        group = position % self.dilation
        coordinate = position // self.dilation
        return Spans(group, coordinate, *self.runs(coordinate, self.group_length(length, group)))

    def group_length(self, length: int, group: Group) -> Group:
        """Number of positions of a dilation group on an axis of ``length``."""
        return (length - 1 - group) // self.dilation + 1

    def runs(self, coordinate: Tensor, group_length: Tensor) -> tuple[Tensor, Tensor]:
        """The run of visible keys of queries: its start and its extent, as coordinates in the dilation group.

        Args:
            coordinate: of the queries, in their groups. Any shape.
            group_length: positions of each query's group; broadcasts with ``coordinate``.
        """
        if self.is_window:
            return self._window(coordinate, group_length)
        return self._neighborhood(coordinate, group_length)

    def pairs(self, length: int) -> int:
        """Number of (query, key) pairs on an axis: the sum of ``spans(length).extent``, without a tensor."""
        if not self.is_window:
            return self.size * length
        total = 0
        for group in range(min(self.dilation, length)):
            members = self.group_length(length, group)
            lines = [0, *range(self.shift or self.size, members, self.size), members]
            total += sum((right - left) ** 2 for left, right in pairwise(lines))
        return total

    def _window(self, coordinate: Tensor, group_length: Tensor) -> tuple[Tensor, Tensor]:
        # floor division: coordinates left of the first line belong to the window that the border cuts
        line = torch.div(coordinate - self.shift, self.size, rounding_mode="floor") * self.size + self.shift
        start = line.clamp(min=0)
        return start, torch.minimum(line + self.size, group_length) - start

    def _neighborhood(self, coordinate: Tensor, group_length: Tensor) -> tuple[Tensor, Tensor]:
        left = self.size // 2
        leader = torch.minimum(coordinate // self.stride * self.stride + self.stride // 2, group_length - 1)
        start = torch.minimum((leader - left).clamp(min=0), group_length - self.size)
        return start, torch.full_like(start, self.size)


@dataclass(frozen=True)
class Geometry:
    """The rules of the two axes of a map. A query sees the product of its run of rows and its run of columns.

    Attributes:
        rows: the rule of the rows.
        cols: the rule of the columns.
        decay: how many of the last channels of queries and keys are no such channels, but summed up a place; see
            ``decay.py``.
    """

    rows: AxisRule
    cols: AxisRule
    decay: int = 0

    @property
    def is_window(self) -> bool:
        return self.rows.is_window

    @property
    def table_shape(self) -> tuple[int, int]:
        """Shape of one head's bias table: every key-minus-query offset, per axis."""
        return 2 * self.rows.size - 1, 2 * self.cols.size - 1

    def encode(self) -> tuple[list[int], list[int]]:
        """What :func:`decode` takes."""
        return self.rows.encode(), [*self.cols.encode(), self.decay]

    def pairs(self, height: int, width: int) -> int:
        """Number of (query, key) pairs on an H x W map: the real work, before any padding of tiles."""
        return self.rows.pairs(height) * self.cols.pairs(width)

    def check(self, height: int, width: int) -> None:
        """Check that this geometry fits an H x W map. A registered op checks when it runs: sizes are known then.

        Raises:
            ValueError: it does not, with the numbers.
        """
        check = check_window if self.is_window else check_neighborhood
        check(self.rows, height, "rows")
        check(self.cols, width, "columns")


def decode(rows: Sequence[int], cols: Sequence[int]) -> Geometry:
    """The geometry that encodes to ``rows`` and ``cols``."""
    return Geometry(AxisRule(*rows), AxisRule(*cols[:4]), *cols[4:])


def window_geometry(height: int, width: int, window: Pair, shift: Pair, dilation: Pair) -> Geometry:
    """A checked window partition of an H x W map.

    Raises:
        ValueError: sizes that do not fit, with the numbers.
        TypeError: sizes that are not integers.
    """
    sizes, shifts, dilations = as_pair("window", window), as_pair("shift", shift), as_pair("dilation", dilation)
    rows, cols = (AxisRule(s, d, shift=o) for s, d, o in zip(sizes, dilations, shifts, strict=True))
    geometry = Geometry(rows, cols)
    geometry.check(height, width)
    return geometry


def neighborhood_geometry(height: int, width: int, kernel_size: Pair, dilation: Pair, stride: Pair) -> Geometry:
    """A checked neighborhood on an H x W map.

    Raises:
        ValueError: sizes that do not fit, with the numbers.
        TypeError: sizes that are not integers.
    """
    sizes, dilations, strides = (
        as_pair("kernel_size", kernel_size),
        as_pair("dilation", dilation),
        as_pair("stride", stride),
    )
    rows, cols = (AxisRule(s, d, stride=t) for s, d, t in zip(sizes, dilations, strides, strict=True))
    geometry = Geometry(rows, cols)
    geometry.check(height, width)
    return geometry


def check_window(rule: AxisRule, length: int, axis: str) -> None:
    """Check that ``rule`` is a partition of an axis of ``length``.

    Raises:
        ValueError: it is not, with the numbers.
    """
    size, dilation, shift = rule.size, rule.dilation, rule.shift
    for name, value in (("window", size), ("dilation", dilation), ("map", length)):
        if certainly(value < 1):
            raise ValueError(f"{name} must be at least 1 on the {axis}, got {value}")
    if certainly(shift < 0) or certainly(shift >= size):
        raise ValueError(f"shift must lie in 0..window-1 on the {axis}, got shift {shift} with window {size}")


def check_neighborhood(rule: AxisRule, length: int, axis: str) -> None:
    """Check that an axis of ``length`` holds the neighborhoods of ``rule``.

    Raises:
        ValueError: it does not, with the numbers.
    """
    size, dilation, stride = rule.size, rule.dilation, rule.stride
    for name, value, least in (("kernel_size", size, 2), ("dilation", dilation, 1)):
        if certainly(value < least):
            raise ValueError(f"{name} must be at least {least} on the {axis}, got {value}")
    if certainly(stride < 1) or certainly(stride > size):
        raise ValueError(
            f"stride must lie in 1..kernel_size on the {axis}, got stride {stride} with kernel_size {size}"
        )
    if certainly(size * dilation > length):
        raise ValueError(
            f"kernel_size * dilation must not exceed the map: "
            f"{axis}, {size} * {dilation} = {size * dilation} > {length}"
        )


def certainly(statement: bool | torch.SymBool) -> bool:
    """Whether a statement about sizes holds, whatever the symbols of ``torch.compile`` or ``torch.export`` stand for.

    False where it depends on a symbol: evaluating it would bind the graph to the sizes that it was traced with.
    ``torch.jit.trace``, whose sizes are tensors, does bind its graph to them.
    """
    if isinstance(statement, torch.Tensor):
        return bool(statement)
    if not torch.compiler.is_compiling() and isinstance(statement, bool):
        return statement
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # takes a second to import

    return statically_known_true(statement)


def as_pair(name: str, value: Pair) -> tuple[int, int]:
    """``7`` as ``(7, 7)``; a pair stays as it is.

    Raises:
        ValueError: not two numbers.
        TypeError: not integers.
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair (rows, columns), got {len(pair)} values: {value}")
    if torch.jit.is_tracing():  # numbers that follow from sizes are tensors there
        pair = tuple(int(number) for number in pair)
    for number in pair:
        if isinstance(number, bool) or not isinstance(number, (int, torch.SymInt)):
            raise TypeError(f"{name} must hold integers, got {number!r} of type {type(number).__name__}")
    return pair[0], pair[1]


def rounded_up(size: int, unit: int) -> int:
    """How often a unit fits into a size, rounded up.

    In whole numbers from 0 on: a graph keeps symbols for these alone, and ONNX rounds negative quotients towards 0, so
    that ``-(-size // unit)`` may be one less there.
    """
    return (size + unit - 1) // unit
