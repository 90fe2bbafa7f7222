"""Tables for the C++ library, and the calls. The structures mirror ``problem.h`` field by field."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build
from visionattn.kernels.backends.tiled.tiles import axis_tiles
from visionattn.kernels.geometry import AxisRule
from visionattn.kernels.signature import BackwardRun, ForwardRun, Layout, Maps, Signature, Wanted, stats_dtype

NAMES = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bf16"}
TILE = 4
"""Neighborhood queries of a tile, per axis: 4 x 4 fills the 16 lanes with the fewest keys."""


JOBS = 16
"""Backward jobs to aim at: enough to share out, few enough that each sums several units' bias gradients."""


ADDRESS = struct.Struct("@P")


class Axis(ctypes.Structure):
    """The C++ struct of an axis's tiles."""

    _fields_ = (
        ("tiles", ctypes.c_int32),
        ("shapes", ctypes.c_int32),
        ("tile", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("span", ctypes.c_void_p),
    )


class Map(ctypes.Structure):
    """The C++ struct of a map: its data and strides."""

    _fields_ = (("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "row", "col", "head")))


SIZES = ("batch", "height", "width", "heads", "depth", "value_depth", "table_rows", "table_cols")
SETTINGS = ("threads", "units", "windows", "decay")
MAPS = ("q", "k", "v", "out", "grad", "dq", "dk", "dv")
ARRAYS = ("bias", "stats", "dbias")


class Problem(ctypes.Structure):
    """The C++ struct of one call."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in (*SIZES, *SETTINGS)),
        ("scale", ctypes.c_double),
        ("rows", Axis),
        ("cols", Axis),
        *((name, Map) for name in MAPS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )


def stats_shape(q: Tensor) -> Sequence[int]:
    """Per query the largest logit and 1 / (sum of exponentials)."""
    return (*q.shape[:4], 2)


def forward(call: Signature) -> ForwardRun:
    """The attended map and what the backward needs; see :class:`visionattn.kernels.signature.Kernel`."""
    sums, shape, shape_of_stats = stats_dtype(call.dtype), call.v.shape, (*call.q.shape[:4], 2)
    convert = call.bias not in (None, sums)
    direction = Direction(call, "forward", {"q": call.q, "k": call.k, "v": call.v, "out": contiguous(shape)})

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        out, stats = v.new_empty(shape), q.new_empty(shape_of_stats, dtype=sums)
        table = bias.to(sums) if convert and bias is not None else bias
        direction.run((q, k, v, out), table, stats, None)
        return out, stats

    return run


def backward(call: Signature, wanted: Wanted) -> BackwardRun:
    """The gradients; see :class:`visionattn.kernels.signature.Kernel`."""
    sums, units = stats_dtype(call.dtype), backward_units(call)
    convert = call.bias not in (None, sums)
    jobs = -(-units[0] // units[1])
    maps = {"q": call.q, "k": call.k, "v": call.v, "grad": contiguous(call.v.shape)}
    maps |= zip(("dq", "dk", "dv"), wanted.gradients, strict=True)
    direction = Direction(call, "backward", maps)

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor, into: Maps
    ) -> Tensor:
        table = bias.to(sums) if convert and bias is not None else bias
        tables = None if bias is None else stats.new_empty((jobs, *bias.shape))
        direction.run((q, k, v, grad, *into), table, stats, tables)
        if tables is None or bias is None or not wanted.table:
            return q.new_empty(0)
        total = tables.sum(0)
        return total.to(bias.dtype) if convert else total

    return run


def backward_units(call: Signature) -> tuple[int, int]:
    """Units of backward work (see attention.cpp), and how many a job takes; the number of threads has no say."""
    batch, height, _, heads, _ = call.q.shape
    if call.geometry.is_window:
        units = batch * axis(call.geometry.rows, height).tiles
        return units, max(1, (units if units >= JOBS else units * heads) // JOBS)
    return batch, max(1, batch * heads // JOBS)


def contiguous(shape: Sequence[int]) -> Layout:
    """The layout of a contiguous map."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * max(size, 1))
    return Layout(tuple(shape), tuple(strides))


class Direction:
    """One direction of one signature: the structure that the library takes, filled in but for the addresses.

    Args:
        call: the call.
        name: "forward" or "backward".
        maps: layouts by their names in the structure, in the order in which :meth:`run` takes the tensors.

    Raises:
        RuntimeError: the library is not available, or does not match the sources.
    """

    def __init__(self, call: Signature, name: str, maps: dict[str, Layout]):
        batch, height, width, heads, depth = call.q.shape
        geometry = call.geometry
        loaded = build.load(NAMES[call.dtype])
        if loaded.library is None:
            raise RuntimeError(f"the cpp backend is not available: {loaded.reason}")
        if loaded.library.visionattn_problem_size() != ctypes.sizeof(Problem):
            raise RuntimeError("the compiled cpp library does not match this package's sources")
        self.function = getattr(loaded.library, f"visionattn_{name}")
        sizes = (batch, height, width, heads, depth, call.v.shape[-1], *geometry.table_shape)
        settings = (1, backward_units(call)[1], int(geometry.is_window), geometry.decay)
        self.axes = axis(geometry.rows, height), axis(geometry.cols, width)  # they hold the arrays that are pointed at
        self.problem = Problem(*sizes, *settings, call.scale, *self.axes)
        for field, layout in maps.items():
            setattr(self.problem, field, Map(None, *layout.strides[:4]))
        self.addresses = [getattr(Problem, field).offset for field in maps]
        self.empty = 0 in call.q.shape

    def run(self, maps: Sequence[Tensor], bias: Tensor | None, stats: Tensor, tables: Tensor | None) -> None:
        """Fill in the addresses and run. The tensors outlive the call, so their addresses may be passed."""
        if self.empty:
            return
        problem = Problem.from_buffer_copy(self.problem)
        problem.threads = torch.get_num_threads()
        for offset, tensor in zip(self.addresses, maps, strict=True):
            ADDRESS.pack_into(problem, offset, tensor.data_ptr())
        problem.stats = stats.data_ptr()
        if bias is not None:
            problem.bias = bias.data_ptr()
        if tables is not None:
            problem.dbias = tables.data_ptr()
        self.function(ctypes.byref(problem))


@lru_cache(maxsize=256)
def axis(rule: AxisRule, length: int) -> Axis:
    """The C view of an axis' tiles; it holds its own arrays."""
    tiles = axis_tiles(rule, length, TILE)
    shapes = list(dict.fromkeys(tile.shape for tile in tiles))
    spans: list[int] = []
    rows: list[int] = []
    for shape in shapes:
        rows += [shape.queries, shape.keys, shape.lead, len(spans)]
        spans += [bound for pair in zip(shape.low, shape.high, strict=True) for bound in pair]
    flat = [number for tile in tiles for number in (tile.query, tile.key, tile.step, shapes.index(tile.shape))]
    arrays = [(ctypes.c_int32 * len(values))(*values) for values in (flat, rows, spans)]
    view = Axis(len(tiles), len(shapes), *(ctypes.addressof(array) for array in arrays))
    view.arrays = arrays  # keeps them alive
    return view
