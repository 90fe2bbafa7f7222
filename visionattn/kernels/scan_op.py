"""What ``selective_scan`` asks of a backend, and how a kernel becomes registered torch ops.

A backend's functions take ``(x, delta, a, b, c)``, already checked: x ``(B, H, W, C)``, delta ``(B, H, W, K, C)``, b
and c ``(B, H, W, K, S)`` of one floating type, a ``(K, C, S)`` of any floating type, all on one device, any strides.

Legend: B batch, H W map, C channels, K directions, S states of a channel and direction, L = H * W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.custom_op import BACKWARD_WANTED, define, dense, differentiate
from visionattn.kernels.dispatch import Candidate
from visionattn.kernels.geometry import certainly
from visionattn.kernels.signature import stats_dtype

ScanFn = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
ScanBackend = Candidate[[Tensor, Tensor, Tensor, Tensor, Tensor]]
DIRECTIONS = 4
"""Along rows, along columns, and both from the end: the first K of them are scanned."""
FLOPS = 9
"""Operations per token, channel, direction and state, softplus and exponential counted as one each."""
FIVE = "Tensor x, Tensor delta, Tensor b, Tensor c, Tensor a"


@dataclass(frozen=True)
class ScanKernel:
    """A backend's functions; the tensors they get have their last axis side by side in memory, but a has any strides.

    Attributes:
        forward: ``(x, delta, a, b, c) -> (out (B, H, W, C), kept)``, both contiguous.
        backward: ``(grad, x, delta, a, b, c, kept) ->`` the gradients of x, delta, a, b and c, all contiguous, as are
            ``grad`` and ``kept``.
        kept_shape: of x and a, the shape of ``kept``, what forward leaves to backward, of ``stats_dtype(x.dtype)``.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]
    kept_shape: Callable[[Tensor, Tensor], Sequence[int]]


def register_selective_scan(name: str, kernel: ScanKernel) -> ScanFn:
    """Register ``visionattn::<name>`` and its backward; return the function of a :class:`ScanBackend`."""
    forward_op = define(name, f"({FIVE}) -> (Tensor, Tensor)", _forward(kernel), _forward_fake(kernel))
    schema = f"(Tensor grad, {FIVE}, Tensor out, Tensor kept, {BACKWARD_WANTED})"
    results = "(Tensor, Tensor, Tensor, Tensor, Tensor)"
    backward_op = define(f"{name}_backward", f"{schema} -> {results}", _backward(kernel), _backward_fake)
    differentiate(forward_op, backward_op, maps=4)
    register_flop_formula(forward_op.overloadpacket)(_flops)
    register_flop_formula(backward_op.overloadpacket)(_backward_flops)

    def scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        out: Tensor = forward_op(x, delta, b, c, a)[0]
        return out

    return scan


def check_scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> None:
    """Check that the tensors of a scan fit together.

    Raises:
        ValueError: shapes or devices that do not, with the numbers.
        TypeError: types that do not.
    """
    name = "selective_scan"
    if x.dim() != 4:
        raise ValueError(f"{name}: x must have 4 dimensions (B, H, W, C), got {tuple(x.shape)}")
    if a.dim() != 3 or certainly(a.shape[1] != x.shape[3]):
        raise ValueError(f"{name}: a must be (directions, C, states) for C = {x.shape[3]}, got {tuple(a.shape)}")
    if not 1 <= a.shape[0] <= DIRECTIONS or certainly(a.shape[2] < 1):
        raise ValueError(f"{name}: a must have 1 to {DIRECTIONS} directions and some states, got {tuple(a.shape)}")
    for letter, tensor, last in (("delta", delta, x.shape[3]), ("b", b, a.shape[2]), ("c", c, a.shape[2])):
        expected = (*x.shape[:3], a.shape[0], last)
        if tensor.dim() != 5 or any(certainly(h != n) for h, n in zip(tensor.shape, expected, strict=True)):
            raise ValueError(f"{name}: {letter} must be {expected} beside this x and a, got {tuple(tensor.shape)}")
    if not (x.is_floating_point() and a.is_floating_point() and x.dtype == delta.dtype == b.dtype == c.dtype):
        kinds = [x.dtype, delta.dtype, b.dtype, c.dtype]
        raise TypeError(f"{name}: x, delta, b and c must have one floating type, got {kinds}, and a {a.dtype}")
    if any(tensor.device != x.device for tensor in (delta, a, b, c)):
        raise ValueError(
            f"{name}: all tensors must be on one device, got {[str(t.device) for t in (x, delta, a, b, c)]}"
        )


def _forward(kernel: ScanKernel):
    def forward(x, delta, b, c, a):
        check_scan(x, delta, a, b, c)
        return kernel.forward(dense(x), dense(delta), a, dense(b), dense(c))

    return forward


def _forward_fake(kernel: ScanKernel):
    def fake(x, delta, b, c, a):
        return x.new_empty(x.shape), x.new_empty(kernel.kept_shape(x, a), dtype=stats_dtype(x.dtype))

    return fake


def _backward(kernel: ScanKernel):
    def backward(grad, x, delta, b, c, a, out, kept, maps=True, table=True):
        inputs = dense(x), dense(delta), a, dense(b), dense(c)
        of_x, of_delta, of_a, of_b, of_c = kernel.backward(grad.contiguous(), *inputs, kept.contiguous())
        return of_x, of_delta, of_b, of_c, of_a

    return backward


def _backward_fake(grad, x, delta, b, c, a, out, kept, maps=True, table=True):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (x, delta, b, c, a))


def scan_flops(x_shape: Sequence[int], ways: int, states: int) -> int:
    """Operations of a scan of a map ``(B, H, W, C)`` in that many directions; half of them are its multiply-adds."""
    return FLOPS * math.prod(x_shape) * ways * states


def _flops(x_shape, delta_shape, b_shape, *args: Any, **kwargs: Any) -> int:
    return scan_flops(x_shape, *b_shape[3:])


def _backward_flops(grad_shape, x_shape, delta_shape, b_shape, *args: Any, **kwargs: Any) -> int:
    return 2 * _flops(x_shape, delta_shape, b_shape)
