"""Backend ``triton`` of ``selective_scan``: associative scans of tiles, on CUDA devices.

Forward and backward are one launch each. The directions of an image are programs of their own, whose outputs are added
in a fixed order, as are all partial gradients; no kernel uses atomics. Sums are float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import toolchain
from visionattn.kernels.scan_op import ScanBackend

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MOST_STATES = 256


def scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan; see ``scan_op.py`` for the arguments."""
    from visionattn.kernels.backends.triton import scan_launch

    return scan_launch.scan(x, delta, a, b, c)


def refuses(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> str:
    """Why the kernels cannot run this call, or ""."""
    if reason := toolchain.refuses(x):
        return reason
    if x.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 or float16, and the tensors are {x.dtype}"
    if a.shape[2] > MOST_STATES:
        return f"its programs hold up to {MOST_STATES} states of a channel, not {a.shape[2]}"
    return ""


SCAN = ScanBackend("triton", scan, refuses)
