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
from visionattn.kernels.dispatch import Candidate
from visionattn.kernels.geometry import certainly, rounded_up
from visionattn.kernels.op import check_tensors
from visionattn.kernels.signature import stats_dtype

Region = tuple[int, int]
RoutedFn = Callable[[Tensor, Tensor, Tensor, Tensor, Region, float], Tensor]
RoutedBackend = Candidate[[Tensor, Tensor, Tensor, Tensor, Region, float]]
NAME = "routed_attention"
THREE, ONE = "Tensor q, Tensor k, Tensor v, Tensor routes", "Tensor qkv, Tensor routes"
RULE = "SymInt rows, SymInt columns, float scale"


@dataclass(frozen=True)
class RoutedKernel:
    """A backend's functions; the maps they get have their channels side by side, and the routes are contiguous.

    Attributes:
        forward: ``(q, k, v, routes, region, scale) -> (out (B, H, W, N, E), stats)``, both contiguous.
        backward: ``(grad, q, k, v, routes, out, stats, region, scale, into)``: writes the gradients of q, k and v into
            the three maps ``into``, whose channels lie side by side and of which the first two have equal strides.
            ``grad`` and ``out`` are contiguous.
        stats_shape: of q, the shape of ``stats``, whose type is ``stats_dtype(q.dtype)``.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor, Region, float], tuple[Tensor, Tensor]]
    backward: Callable[..., None]
    stats_shape: Callable[[Tensor], Sequence[int]]


def grid_of(size: Sequence[int], region: Region) -> tuple[int, int]:
    """Rows and columns of regions of a map; the last ones may be cut by its border."""
    return rounded_up(size[0], region[0]), rounded_up(size[1], region[1])


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


def register_routed_attention(name: str, kernel: RoutedKernel) -> tuple[RoutedFn, Callable[..., Tensor]]:
    """Register the ops of a kernel; return the functions of a backend: of q, k and v, and of all in one tensor."""
    forward_op = _register(name, THREE, 3, _forward(kernel), _forward_fake(kernel), _backward(kernel), _backward_fake)
    packed_op = _register(
        f"{name}_packed", ONE, 1, _packed_forward(kernel), _packed_forward_fake(kernel),
        _packed_backward(kernel), _packed_backward_fake,
    )  # fmt: skip

    def attend(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
        out: Tensor = forward_op(q, k, v, routes, *region, scale)[0]
        return out

    def attend_packed(qkv: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
        out: Tensor = packed_op(qkv, routes, *region, scale)[0]
        return out

    return attend, attend_packed


def _register(name: str, inputs: str, maps: int, forward: Any, fake: Any, backward: Any, backward_fake: Any) -> Any:
    """Define an op, its backward and their rules; ``maps`` tensors and the routes go in."""
    forward_op = define(name, f"({inputs}, {RULE}) -> (Tensor, Tensor)", forward, fake)
    schema = f"(Tensor grad, {inputs}, Tensor out, Tensor stats, {RULE}, {BACKWARD_WANTED})"
    results = ", ".join(["Tensor"] * (maps + 1))
    backward_op = define(f"{name}_backward", f"{schema} -> ({results})", backward, backward_fake)
    differentiate(forward_op, backward_op, maps)  # the routes stand where other operators have a bias
    count, behind = _flops if maps == 3 else _packed_flops, maps + 1

    def twice(grad: Any, *given: Any, **kwargs: Any) -> int:
        return 2 * count(*given[:behind], *given[behind + 2 :], **kwargs)  # without output and statistics

    register_flop_formula(forward_op.overloadpacket)(count)
    register_flop_formula(backward_op.overloadpacket)(twice)
    return forward_op


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


def _into(kernel: RoutedKernel, into, grad, q, k, v, routes, out, stats, rows, columns, scale):
    """Have a kernel write the gradients."""
    inputs = dense(q), dense(k), dense(v), routes.contiguous(), out.contiguous(), stats.contiguous()
    kernel.backward(grad.contiguous(), *inputs, (rows, columns), scale, into)


def _backward(kernel: RoutedKernel):
    def backward(grad, q, k, v, routes, out, stats, rows, columns, scale, maps=True, table=True):
        into = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        _into(kernel, into, grad, q, k, v, routes, out, stats, rows, columns, scale)
        return *into, q.new_empty(0)

    return backward


def _backward_fake(grad, q, k, v, routes, out, stats, rows, columns, scale, maps=True, table=True):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), q.new_empty(0)


def _packed_forward(kernel: RoutedKernel):
    forward = _forward(kernel)
    return lambda qkv, *rest: forward(*qkv.unbind(3), *rest)


def _packed_forward_fake(kernel: RoutedKernel):
    fake = _forward_fake(kernel)
    return lambda qkv, *rest: fake(*qkv.unbind(3), *rest)


def _packed_backward(kernel: RoutedKernel):
    def backward(grad, qkv, routes, out, stats, rows, columns, scale, maps=True, table=True):
        gradient = qkv.new_empty(qkv.shape)
        q, k, v = qkv.unbind(3)
        _into(kernel, gradient.unbind(3), grad, q, k, v, routes, out, stats, rows, columns, scale)
        return gradient, qkv.new_empty(0)

    return backward


def _packed_backward_fake(grad, qkv, routes, out, stats, rows, columns, scale, maps=True, table=True):
    return qkv.new_empty(qkv.shape), qkv.new_empty(0)


def _flops(q_shape, k_shape, v_shape, routes_shape, rows, columns, *args: Any, **kwargs: Any) -> int:
    """Those of whole regions; where routes list fewer keys, they are fewer."""
    batch, height, width, heads, depth = q_shape
    return 2 * (depth + v_shape[4]) * batch * heads * height * width * routes_shape[2] * rows * columns


def _packed_flops(qkv_shape, *args: Any, **kwargs: Any) -> int:
    shape = (*qkv_shape[:3], *qkv_shape[4:])
    return _flops(shape, shape, shape, *args, **kwargs)
