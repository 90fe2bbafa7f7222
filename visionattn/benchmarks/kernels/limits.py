"""What the hardware allows: operations and bytes of an attention, and what the machine computes and copies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from visionattn.benchmarks.device_time import copy_rate
from visionattn.benchmarks.kernels.methods import BACKWARD, BOTH, FORWARD, AnyCall
from visionattn.benchmarks.timing import gemm_limit
from visionattn.kernels.op import Call

_FLOPS = {FORWARD: 1, BACKWARD: 2, BOTH: 3}
_MAPS = {FORWARD: 4, BACKWARD: 8, BOTH: 12}
_TABLES = {FORWARD: 1, BACKWARD: 2, BOTH: 3}


@dataclass(frozen=True)
class Limits:
    """What this machine reaches, measured in the run.

    Attributes:
        gemm_flops: floating-point operations per second of a large matrix product of the run's type.
        gemm_library: whose product that is.
        copy_bytes: bytes per second that a large copy reads and writes.
    """

    gemm_flops: float
    gemm_library: str
    copy_bytes: float

    @classmethod
    def measured(cls, dtype: torch.dtype, device: torch.device) -> Limits:
        """The limits of a device for a type."""
        return cls(*gemm_limit(dtype, device), copy_rate(device))

    def as_dict(self) -> dict[str, Any]:
        """The attributes, as a file records them."""
        return asdict(self)


def flop_count(call: AnyCall, direction: str = FORWARD) -> int:
    """Floating-point operations over the pairs that attend, 2 per multiply-add; backward counts as twice forward."""
    batch, height, width, heads, depth = call.q.shape
    if isinstance(call, Call):
        pairs = call.geometry.pairs(height, width)
    else:
        pairs = height * width * call.routes.shape[2] * call.region[0] * call.region[1]  # of whole regions
    once = 2 * (depth + call.v.shape[-1]) * batch * heads * pairs
    return once * _FLOPS[direction]


def byte_count(call: AnyCall, direction: str = FORWARD) -> int:
    """Bytes that no method can avoid to move: each tensor once.

    Forward reads q, k, v and the bias table and writes the output. Backward reads those, the output and its gradient,
    and writes the gradients of q, k, v and the table.
    """
    size = call.q.element_size()
    queries, values = call.q.numel() * size, call.v.numel() * size  # q and k, and v and the output, have equal sizes
    bias = call.bias if isinstance(call, Call) else None
    table = 0 if bias is None else bias.numel() * bias.element_size()
    return (queries + values) * _MAPS[direction] // 2 + table * _TABLES[direction]
