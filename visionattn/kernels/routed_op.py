"""What ``routed_attention`` asks of a backend, how a map lies in regions, how a kernel becomes registered torch ops.

A backend's functions take ``(q, k, v, routes, region, scale)``, already checked: q, k ``(B, H, W, N, D)`` and v
``(B, H, W, N, E)`` of one floating type on one device, any strides; routes ``(B, R, K)``, int64, on the same device;
region: rows and columns of a region.

Legend: B batch, H W map, N heads, D head width of queries and keys, E head width of values, R regions, K listed regions
of each, T tokens of a region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.custom_op import BACKWARD_WANTED, define, dense, differentiate
from visionattn.kernels.geometry import certainly
from visionattn.kernels.op import check_tensors
from visionattn.kernels.signature import stats_dtype

Region = tuple[int, int]
RoutedFn = Callable[[Tensor, Tensor, Tensor, Tensor, Region, float], Tensor]
RoutedRefusal = Callable[[Tensor, Tensor, Tensor, Tensor, Region, float], str]
NAME = "routed_attention"
INPUTS = "Tensor q, Tensor k, Tensor v, Tensor routes"
RULE = "SymInt rows, SymInt columns, float scale"


@dataclass(frozen=True)
class RoutedBackend:
    """One implementation of ``routed_attention``.

    Attributes:
        name: what ``backend=`` asks for.
        fn: the attention.
        refuses: the reason why it cannot run this call, or "" when it can.
    """

    name: str
    fn: RoutedFn
    refuses: RoutedRefusal


@dataclass(frozen=True)
class RoutedKernel:
    """A backend's functions; the maps they get have their channels side by side, and the routes are contiguous.

    Attributes:
        forward: ``(q, k, v, routes, region, scale) -> (out (B, H, W, N, E), stats)``, both contiguous.
        backward: ``(grad, q, k, v, routes, out, stats, region, scale) ->`` the gradients of q, k and v, contiguous.
            ``grad`` and ``out`` are contiguous.
        stats_shape: of q, the shape of ``stats``, whose type is ``stats_dtype(q.dtype)``.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor, Region, float], tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    stats_shape: Callable[[Tensor], Sequence[int]]


def never(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> str:
    """The refusals of a backend that runs every call: returns ""."""
    return ""


def grid_of(size: Sequence[int], region: Region) -> tuple[int, int]:
    """Rows and columns of regions of a map; the last ones may be cut by its border."""
    return -(-size[0] // region[0]), -(-size[1] // region[1])


def in_regions(x: Tensor, region: Region) -> Tensor:
    """``(B, H, W, ...) -> (B, R, T, ...)``, tokens row by row; zeros where a region reaches beyond the map."""
    rows, columns = grid_of(x.shape[1:3], region)
    (high, wide), rest = region, x.dim() - 3
    x = F.pad(x, (0, 0) * rest + (0, columns * wide - x.shape[2], 0, rows * high - x.shape[1]))
    x = x.unflatten(2, (columns, wide)).unflatten(1, (rows, high)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


def from_regions(x: Tensor, region: Region, size: Sequence[int]) -> Tensor:
    """The reverse of :func:`in_regions` for a map of ``size``."""
    x = x.unflatten(2, region).unflatten(1, grid_of(size, region)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, : size[0], : size[1]]


def inside(size: Sequence[int], region: Region, device: torch.device) -> Tensor:
    """Boolean ``(R, T)``: whether a token of a region lies on the map."""
    return in_regions(torch.ones((1, *size), dtype=torch.uint8, device=device)[..., None], region)[0, ..., 0] > 0


def check_routed(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region) -> None:
    """Check that maps, routes and regions fit together.

    Raises:
        ValueError: shapes, sizes or devices that do not, with the numbers.
        TypeError: types that do not.
    """
    check_tensors(NAME, q, k, v)
    if any(certainly(side < 1) for side in region):
        raise ValueError(f"{NAME}: a region needs at least one row and one column, got {tuple(region)}")
    if any(certainly(side < 1) for side in q.shape[1:3]):
        raise ValueError(f"{NAME}: the map is empty, q has the shape {tuple(q.shape)}")
    rows, columns = grid_of(q.shape[1:3], region)
    wanted = q.shape[0], rows * columns
    if routes.dim() != 3 or any(certainly(a != b) for a, b in zip(routes.shape[:2], wanted, strict=True)):
        raise ValueError(
            f"{NAME}: routes must have the shape (B, regions, listed) = {(*wanted, 'listed')} for {rows} x {columns} "
            f"regions of {region[0]} x {region[1]}, got {tuple(routes.shape)}"
        )
    if certainly(routes.shape[2] < 1):
        raise ValueError(f"{NAME}: routes must list at least one region, got {tuple(routes.shape)}")
    if routes.dtype != torch.int64:
        raise TypeError(f"{NAME}: routes must be int64, got {routes.dtype}")
    if routes.device != q.device:
        raise ValueError(f"{NAME}: routes must be on the device of q, got {routes.device} and {q.device}")


def check_entries(routes: Tensor) -> None:
    """Check the entries of routes that lie in the memory of the CPU.

    Raises:
        ValueError: one is neither a region nor -1.
    """
    if routes.device.type != "cpu" or not routes.numel():
        return
    least, most = (int(x) for x in routes.aminmax())
    if least < -1 or most >= routes.shape[1]:
        raise ValueError(
            f"{NAME}: routes must be -1 or number regions 0 to {routes.shape[1] - 1}, got {least} to {most}"
        )


def register_routed_attention(name: str, kernel: RoutedKernel) -> RoutedFn:
    """Register ``visionattn::<name>`` and its backward; return the function of a :class:`RoutedBackend`."""
    forward_op = define(name, f"({INPUTS}, {RULE}) -> (Tensor, Tensor)", _forward(kernel), _forward_fake(kernel))
    schema = f"(Tensor grad, {INPUTS}, Tensor out, Tensor stats, {RULE}, {BACKWARD_WANTED})"
    results = "(Tensor, Tensor, Tensor, Tensor)"
    backward_op = define(f"{name}_backward", f"{schema} -> {results}", _backward(kernel), _backward_fake)
    differentiate(forward_op, backward_op, maps=3)  # the routes stand where other operators have a bias
    register_flop_formula(forward_op.overloadpacket)(_flops)
    register_flop_formula(backward_op.overloadpacket)(_backward_flops)

    def attend(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
        out: Tensor = forward_op(q, k, v, routes, *region, scale)[0]
        return out

    return attend


def _forward(kernel: RoutedKernel):
    def forward(q, k, v, routes, rows, columns, scale):
        check_routed(q, k, v, routes, (rows, columns))
        check_entries(routes)
        return kernel.forward(dense(q), dense(k), dense(v), routes.contiguous(), (rows, columns), scale)

    return forward


def _forward_fake(kernel: RoutedKernel):
    def fake(q, k, v, routes, rows, columns, scale):
        return v.new_empty(v.shape), q.new_empty(kernel.stats_shape(q), dtype=stats_dtype(q.dtype))

    return fake


def _backward(kernel: RoutedKernel):
    def backward(grad, q, k, v, routes, out, stats, rows, columns, scale, maps=True, table=True):
        inputs = dense(q), dense(k), dense(v), routes.contiguous(), out.contiguous(), stats.contiguous()
        return *kernel.backward(grad.contiguous(), *inputs, (rows, columns), scale), q.new_empty(0)

    return backward


def _backward_fake(grad, q, k, v, routes, out, stats, rows, columns, scale, maps=True, table=True):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), q.new_empty(0)


def _flops(q_shape, k_shape, v_shape, routes_shape, rows, columns, *args: Any, **kwargs: Any) -> int:
    """Those of whole regions; where routes list fewer keys, they are fewer."""
    batch, height, width, heads, depth = q_shape
    return 2 * (depth + v_shape[4]) * batch * heads * height * width * routes_shape[2] * rows * columns


def _backward_flops(grad, q, k, v, routes, out, stats, rows, columns, *args: Any, **kwargs: Any) -> int:
    return 2 * _flops(q, k, v, routes, rows, columns)
