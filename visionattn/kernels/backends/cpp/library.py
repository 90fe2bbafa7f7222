"""Tables for the C++ library, and the calls. The structures mirror ``problem.h`` field by field."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build
from visionattn.kernels.backends.tiled.tiles import axis_tiles
from visionattn.kernels.custom_op import Maps, stats_dtype
from visionattn.kernels.geometry import AxisRule, Geometry

NAMES = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bf16"}
TILE = 4
"""Neighborhood queries of a tile, per axis: 4 x 4 fills the 16 lanes with the fewest keys."""


JOBS = 16
"""Backward jobs to aim at: enough to share out, few enough that each sums several units' bias gradients."""


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
SETTINGS = ("threads", "units", "windows", "reserved")
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


def forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float
) -> tuple[Tensor, Tensor]:
    """The attended map and what the backward needs; see :class:`visionattn.kernels.custom_op.Kernel`."""
    out = v.new_empty(v.shape)
    stats = q.new_empty(stats_shape(q), dtype=stats_dtype(q.dtype))
    maps = {"q": dense(q), "k": dense(k), "v": dense(v), "out": out}
    call("forward", maps, {"bias": as_table(bias, stats.dtype), "stats": stats}, geometry, scale)
    return out, stats


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    out: Tensor,
    stats: Tensor,
    geometry: Geometry,
    scale: float,
    into: Maps,
    maps: bool = True,
    table: bool = True,
) -> Tensor:
    """The gradients; see :class:`visionattn.kernels.custom_op.Kernel`."""
    tensors = {"q": dense(q), "k": dense(k), "v": dense(v), "grad": dense(grad)}
    tensors |= zip(("dq", "dk", "dv"), into, strict=True)
    units, together = backward_units(q, geometry)
    tables = None if bias is None else stats.new_empty((-(-units // together), *bias.shape))
    arrays = {"bias": as_table(bias, stats.dtype), "stats": stats.contiguous(), "dbias": tables}
    call("backward", tensors, arrays, geometry, scale)
    if bias is None or tables is None or not table:
        return q.new_empty(0)
    return tables.sum(0).to(bias.dtype)


def backward_units(q: Tensor, geometry: Geometry) -> tuple[int, int]:
    """Units of backward work (see attention.cpp), and how many a job takes; the number of threads has no say."""
    batch, height, _, heads, _ = q.shape
    if geometry.is_window:
        units = batch * axis(geometry.rows, height).tiles
        return units, max(1, (units if units >= JOBS else units * heads) // JOBS)
    return batch, max(1, batch * heads // JOBS)


def dense(x: Tensor) -> Tensor:
    """The tensor with its channels side by side in memory; the other strides are free."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def as_table(bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The bias table, contiguous and in the type of the sums."""
    return None if bias is None else bias.to(dtype).contiguous()


def call(
    direction: str, maps: dict[str, Tensor], arrays: dict[str, Tensor | None], geometry: Geometry, scale: float
) -> None:
    """Fill in a Problem and run one direction. The tensors outlive the call, so their addresses may be passed."""
    q = maps["q"]
    batch, height, width, heads, depth = q.shape
    if not q.numel():
        return
    sizes = (batch, height, width, heads, depth, maps["v"].shape[-1], *geometry.table_shape)
    settings = (torch.get_num_threads(), backward_units(q, geometry)[1], int(geometry.is_window), 0)
    problem = Problem(*sizes, *settings, scale, axis(geometry.rows, height), axis(geometry.cols, width))
    for name, tensor in maps.items():
        setattr(problem, name, Map(tensor.data_ptr(), *tensor.stride()[:4]))
    for name, array in arrays.items():
        setattr(problem, name, None if array is None else array.data_ptr())
    loaded = build.load(NAMES[q.dtype])
    if loaded.library is None:
        raise RuntimeError(f"the cpp backend is not available: {loaded.reason}")
    if loaded.library.visionattn_problem_size() != ctypes.sizeof(Problem):
        raise RuntimeError("the compiled cpp library does not match this package's sources")
    getattr(loaded.library, f"visionattn_{direction}")(ctypes.byref(problem))


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
