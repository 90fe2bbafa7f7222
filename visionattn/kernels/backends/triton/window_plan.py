"""How a map is cut into windows that fit one block each: plain integers, no torch, no Triton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from visionattn.kernels.backends.triton.axis import Axis
from visionattn.kernels.backends.triton.layout import power_of_two

MOST_SHARED_MEMORY = 99 * 1024
"""Bytes per program on consumer cards, which have the least."""
REGISTERS = 65536
"""Of a multiprocessor."""


@dataclass(frozen=True)
class Cut:
    """The windows of one axis.

    Attributes:
        tiles: windows of the longest dilation group. A merged axis has one less: its first also holds its last.
        offset: points of the first window that lie before the map.
        merged: whether the last window, which the map cuts, lies in what the map leaves empty of the first.
        border: whether some windows are not full.
    """

    tiles: int
    offset: int
    merged: bool
    border: bool


@dataclass(frozen=True)
class Schedule:
    """How one kernel is launched: programs per multiprocessor, warps, pipeline stages, most registers of a thread."""

    programs: int
    num_warps: int
    num_stages: int
    registers: int | None = None


@dataclass(frozen=True)
class WindowPlan:
    """The block (points of a window, rounded up to a power of two) and the schedules of both kernels."""

    block: int
    forward: Schedule
    backward: Schedule


def cut(axis: Axis) -> Cut:
    """The windows of an axis."""
    offset = axis.offset
    lengths = {axis.longest, axis.length // axis.dilation}  # of the longest and the shortest dilation group
    tiles = -(-(axis.longest + offset) // axis.size)
    left = [length + offset - (tiles - 1) * axis.size for length in lengths]  # points of the last window
    merged = offset > 0 and tiles > 1 and all(0 < points <= offset for points in left)
    full = offset if merged else axis.size
    border = any(points != full for points in left) or (offset > 0 and not merged)
    return Cut(tiles - merged, offset, merged, border)


def fits_one_block(y: Axis, x: Axis, bytes_per_value: int, widest: int, biased: bool) -> bool:
    """Whether a window is one block in both passes: its points, its rows and the sums of its bias in one program."""
    if not y.windowed:
        return False
    points, half = y.size * x.size, bytes_per_value == 2
    return (points <= 64 and widest <= (128 if half else 32)) or (
        points <= 128 and widest <= 32 and half and not biased
    )


@lru_cache(maxsize=4096)
def default_window_plan(points: int, bytes_per_value: int, widest: int) -> WindowPlan:
    """The plan that every call uses, the same in every process, so that a resumed run repeats its bits.

    Chosen from the compiler's reports for sm_90: no register is spilled within the loop over windows unless heads are
    wider than 64 or windows of more than 64 points are cut by the border, no more shared memory is taken than consumer
    cards have, and the loads run two windows ahead where it suffices for them. A warp has 16 queries; fp32, whose exact
    products have no tensor cores, and the backward of wide heads have twice the warps. A multiprocessor holds 16 warps
    of the forward at once and gets 32, and holds all 8 of the backward, which has twice the registers: on an H200, at
    Swin-T's first stage, 16 took 71 µs, 32 took 64 and 64 took 68; in the backward 8, 12 and 16 took 105, 140 and 112.
    """
    block = max(16, power_of_two(points))
    full, wide = bytes_per_value == 4, widest > 32
    row = bytes_per_value * max(16, power_of_two(widest))
    scratch = 2 * block * block * bytes_per_value
    warps = block // 16 * (2 if full else 1)
    forward = Schedule(max(1, 32 // warps), warps, stages(3 * block * row, block * row))
    warps = block // 16 * (2 if full or (wide and block == 64) else 1)
    backward = Schedule(max(1, 8 // warps), warps, 1 if full else stages(4 * block * row, scratch))
    return WindowPlan(block, forward, backward)


def stages(bytes_per_stage: int, scratch: int) -> int:
    """Pipeline stages that fit the shared memory; one where the maps of two windows do not."""
    return next((number for number in (3, 2) if number * bytes_per_stage + scratch <= MOST_SHARED_MEMORY), 1)


def window_candidates(base: WindowPlan) -> list[WindowPlan]:
    """At most sixteen plans worth timing, ``base`` first: other numbers of programs, stages and registers."""
    forwards = [replace(base, forward=schedule) for schedule in _schedules(base.forward)]
    backwards = [replace(base, backward=schedule) for schedule in _schedules(base.backward)]
    return list(dict.fromkeys((base, *forwards, *backwards)))


def _schedules(base: Schedule) -> list[Schedule]:
    """Schedules of one kernel worth timing; with the last one more program fits a multiprocessor."""
    counts = base.programs + 1, 2 * base.programs, 4 * base.programs
    most = REGISTERS // (32 * base.num_warps * (base.programs + 1)) // 8 * 8
    return [
        *(replace(base, programs=programs) for programs in counts),
        *(replace(base, num_stages=number) for number in (1, 2, 3)),
        replace(base, programs=base.programs + 1, registers=min(most, 255)),
    ]
