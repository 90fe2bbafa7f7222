"""Backend ``cpp``: fused forward and backward in C++, compiled once on this machine by whatever compiler is there.

Queries lie in the lanes of vectors, 16 at a time, in bfloat16 up to 64; a neighborhood's tile is 4 x 4 queries and the
rectangle of keys they see, a window's is the window. Logits never leave the cache, masks are geometry, softmax runs
down the lanes, and the bias gradient is summed per image in a fixed order: two runs give equal bits, whatever the
number of threads.
float32, float64 and bfloat16. The latter is computed in float32, or, where the CPU multiplies pairs of bfloat16 numbers
(AVX512-BF16), in products of those with sums in float32; with a decay always in float32 (``widening``).

Files: ``build`` (compiler and cache), ``library`` (tables and ctypes), ``*.h``, ``attention.cpp``; ``layers`` and
``layers.cpp`` are for what surrounds attention.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build, library
from visionattn.kernels.backends.cpp.widening import computed_in, widened_backward, widened_forward
from visionattn.kernels.custom_op import register_attention
from visionattn.kernels.geometry import Geometry, certainly
from visionattn.kernels.op import Backend
from visionattn.kernels.signature import Kernel

MOST_KEYS = 4096
"""Keys of a window or neighborhood above which the bias and mask of one tile no longer pay."""


@torch.compiler.assume_constant_result
def unavailable(dtype: torch.dtype) -> str:
    """Why no library can be had on this machine ("" if one can); compiles it when first asked."""
    return build.load(library.NAMES[dtype]).reason


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why this backend cannot run this call, or ""."""
    if q.device.type != "cpu":
        return f"it runs on the CPU, the tensors are on {q.device}"
    if q.dtype not in library.NAMES:
        return f"it takes float32, float64 and bfloat16, not {q.dtype}"
    if certainly(geometry.rows.size * geometry.cols.size > MOST_KEYS):
        return f"it takes up to {MOST_KEYS} keys per query, not {geometry.rows.size} * {geometry.cols.size}"
    return unavailable(computed_in(q.dtype, geometry.decay))


KERNEL = Kernel(widened_forward, widened_backward, library.stats_shape)
attend, attend_packed = register_attention("cpp", KERNEL)
WINDOW = Backend("cpp", attend, refuses, attend_packed)
NEIGHBORHOOD = Backend("cpp", attend, refuses, attend_packed)
