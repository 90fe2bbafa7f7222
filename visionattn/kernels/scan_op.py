"""What ``selective_scan`` asks of a backend, and how a kernel becomes registered torch ops.

A backend's functions take ``(x, delta, a, b, c)``, already checked: x ``(B, H, W, C)``, delta ``(B, H, W, K, C)``, b
and c ``(B, H, W, K, S)`` of one floating type, a ``(K, C, S)`` of any floating type, all on one device, any strides.

Legend: B batch, H W map, C channels, K directions, S states of a channel and direction, L = H * W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from visionattn.kernels.geometry import certainly

ScanFn = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
ScanRefusal = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], str]
DIRECTIONS = 4
"""Along rows, along columns, and both from the end: the first K of them are scanned."""


@dataclass(frozen=True)
class ScanBackend:
    """One implementation of ``selective_scan``.

    Attributes:
        name: what ``backend=`` asks for.
        fn: the scan.
        refuses: the reason why it cannot run this call, or "" when it can.
    """

    name: str
    fn: ScanFn
    refuses: ScanRefusal


def never(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> str:
    """The refusals of a backend that runs every call: returns ""."""
    return ""


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
