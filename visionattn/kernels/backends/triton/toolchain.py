"""Whether Triton can build and launch kernels on a device: tried once per device, before anything depends on it.

Triton compiles its launcher with the machine's C compiler and its kernels with NVIDIA's assembler. Where one is missing
or fails, or the card is older than the kernels, ``auto`` goes on to the next backend and layers keep torch's operators,
with one warning. The answer is kept, so that all calls of a process, traced or not, use the same code.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

INSTALLED = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
MISSING = "the package triton is not installed"
OLDEST_CAPABILITY = (8, 0)


def refuses(x: Tensor) -> str:
    """Why the kernels cannot run where a tensor is, or ""."""
    if x.device.type != "cuda":
        if not INSTALLED:
            return MISSING
        interpreted = INTERPRETED and x.device.type == "cpu"
        return "" if interpreted else f"its kernels run on CUDA devices, and the tensors are on {x.device}"
    return "" if INSTALLED and INTERPRETED else fault(x.device.index)


@torch.compiler.assume_constant_result
def fault(index: int) -> str:
    """Why Triton is of no use on CUDA device ``index`` of this machine, or ""."""
    return _found(index)


@cache
def _found(index: int) -> str:
    if not torch.cuda.is_available():  # a graph is traced here for a device elsewhere
        return "" if INSTALLED else MISSING
    reason = _too_old(index) or _try(index) if INSTALLED else MISSING
    if reason:
        warnings.warn(f"attention and norms on cuda:{index} take slower code: {reason}", RuntimeWarning, stacklevel=2)
    return reason


def _too_old(index: int) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    if (major, minor) >= OLDEST_CAPABILITY:
        return ""
    oldest, name = ".".join(map(str, OLDEST_CAPABILITY)), torch.cuda.get_device_name(index)
    return f"its kernels need compute capability {oldest} or newer, and {name} has {major}.{minor}"


def _try(index: int) -> str:
    if torch.cuda.is_current_stream_capturing():
        return ""
    try:
        from visionattn.kernels.backends.triton.nothing import nothing_kernel

        with torch.cuda.device(index):
            nothing_kernel[(1,)](1, enable_fp_fusion=True)
    except Exception as error:  # noqa: BLE001 - whatever the compilers, the assembler or the driver say
        return f"Triton cannot build kernels on this machine ({said(error)})"
    return ""


def said(error: Exception) -> str:
    """An error's class and the first line of its message."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return f"{type(error).__name__}: {first}"
