"""Whether Triton can build and launch kernels on a device: tried once per device, before anything depends on it.

Triton compiles its launcher with the machine's C compiler and its kernels with NVIDIA's assembler. Where one is missing
or fails, ``auto`` goes on to the next backend, with one warning. The answer is kept, so that all calls of a process,
traced or not, use the same code.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec

import torch

INSTALLED = find_spec("triton") is not None
MISSING = "the package triton is not installed"


@torch.compiler.assume_constant_result
def fault(index: int) -> str:
    """Why Triton is of no use on CUDA device ``index`` of this machine, or ""."""
    return _found(index)


@cache
def _found(index: int) -> str:
    if not torch.cuda.is_available():  # a graph is traced here for a device elsewhere
        return "" if INSTALLED else MISSING
    reason = _try(index) if INSTALLED else MISSING
    if reason:
        warnings.warn(f"attention on cuda:{index} takes slower code: {reason}", RuntimeWarning, stacklevel=2)
    return reason


def _try(index: int) -> str:
    from visionattn.kernels.backends.triton.nothing import nothing_kernel

    if torch.cuda.is_current_stream_capturing():
        return ""
    try:
        with torch.cuda.device(index):
            nothing_kernel[(1,)](1, enable_fp_fusion=True)
    except Exception as error:  # noqa: BLE001 - whatever the compilers, the assembler or the driver say
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        return f"Triton cannot build kernels on this machine ({type(error).__name__}: {said})"
    return ""
