"""How a map is cut into windows that fit one block each: plain integers, no torch, no Triton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from visionattn.kernels.backends.triton.plan import Axis, power_of_two

MOST_SHARED_MEMORY = 99 * 1024
"""Bytes per program on consumer cards, which have the least."""


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


@lru_cache(maxsize=4096)
def default_window_plan(points: int, bytes_per_value: int, widest: int) -> WindowPlan:
    """The plan that every call uses, the same in every process, so that a resumed run repeats its bits.

    Chosen from the compiler's reports: no spills for sm_90, no more shared memory than consumer cards have, and loads
    that run two windows ahead where it suffices for them. A warp has 16 queries.
    """
    block = max(16, power_of_two(points))
    row = bytes_per_value * max(16, power_of_two(widest))
    warps = block // 16 if bytes_per_value == 2 else max(1, block // 8)
    forward = Schedule(4, warps, stages(3 * block * row, block * row))
    backward = Schedule(2, warps, stages(4 * block * row, 2 * block * block * bytes_per_value))
    return WindowPlan(block, forward, backward)


def stages(bytes_per_stage: int, scratch: int) -> int:
    """Pipeline stages that fit the shared memory; one where the maps of two windows do not."""
    return next((number for number in (3, 2) if number * bytes_per_stage + scratch <= MOST_SHARED_MEMORY), 1)


def window_candidates(base: WindowPlan) -> list[WindowPlan]:
    """Plans worth timing beside ``base``, which is the first."""
    plans = [base]
    for programs, most in ((4, None), (5, None), (8, None), (16, None)):
        for number in (2, 3):
            schedule = Schedule(programs, base.forward.num_warps, number, most)
            plans.append(replace(base, forward=schedule))
    for programs, most in ((2, None), (3, 168), (4, None), (4, 128)):
        for number in (2, 3):
            schedule = Schedule(programs, base.backward.num_warps, number, most)
            plans.append(replace(base, backward=schedule))
    return list(dict.fromkeys(plans))
