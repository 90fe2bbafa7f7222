"""One launch of one kernel, with everything but the tensors fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.triton.fallback import KernelFailed
from visionattn.kernels.backends.triton.toolchain import said

ALIGNMENT = 16
"""Bytes; Triton compiles a kernel anew for a pointer that is not a multiple of it."""
FAILED: dict[tuple[object, ...], KernelFailed] = {}
"""What failed, by kernel, types of the tensors and constants: it is not tried again."""


class Launch:
    """A kernel, its grid, its numbers and its compile-time constants; a call adds the tensors and launches it.

    Triton's own launch looks up the compiled kernel by the types and values of all arguments, which takes longer than
    many kernels run. Here they are fixed but for the addresses, so that the first launch's kernel serves all others
    whose tensors are aligned as Triton assumes; the rest goes the long way.

    Args:
        kernel: a function of Triton whose parameters are pointers, then numbers, then constants.
        grid: number of programs, per dimension of the grid.
        numbers: the arguments after the pointers.
        constants: the compile-time constants and the options ``num_warps``, ``num_stages``, ... by name.
    """

    def __init__(
        self, kernel: Any, grid: tuple[int, ...], numbers: tuple[int | float, ...], constants: Mapping[str, Any]
    ):
        self.kernel = kernel
        self.grid = grid
        self.numbers = numbers
        self.constants = dict(constants)
        self.rest: tuple[Any, ...] = ()
        self.compiled: Callable[..., None] | None = None

    def __call__(self, *tensors: Tensor) -> None:
        """Launch on the current device and stream."""
        pointers = [tensor.data_ptr() for tensor in tensors]
        bits = 0
        for pointer in pointers:
            bits |= pointer
        if self.compiled is None or bits % ALIGNMENT or self.kernel.pre_run_hooks:
            self.launch(tensors, aligned=bits % ALIGNMENT == 0)
        else:
            self.compiled(*pointers, *self.rest)

    def launch(self, tensors: tuple[Tensor, ...], aligned: bool) -> None:
        """Launch as Triton does, compiling the kernel if need be; what is compiled for aligned tensors is kept.

        On a device with too little shared memory the kernel loads less ahead, which changes no number.

        Raises:
            KernelFailed: it has too little even so, or the kernel cannot be compiled or started.
        """
        from triton.runtime.errors import OutOfResources

        what = self.kernel, *(tensor.dtype for tensor in tensors), *self.constants.items()
        if known := FAILED.get(what):
            raise known
        try:
            compiled = self.kernel[self.grid](*tensors, *self.numbers, **self.constants)
        except torch.OutOfMemoryError:
            raise
        except OutOfResources as error:
            if self.constants["num_stages"] > 1:
                self.constants["num_stages"] -= 1
                return self.launch(tensors, aligned)
            name = f"{self.kernel.__name__} needs {error.required} of this device's {error.name}"
            raise FAILED.setdefault(what, KernelFailed(f"{name}, which has {error.limit}")) from error
        except Exception as error:  # whatever Triton, the assembler or the driver say
            name = f"{self.kernel.__name__} cannot be built or started"
            raise FAILED.setdefault(what, KernelFailed(f"{name} ({said(error)})")) from error
        if compiled is not None and aligned:  # the interpreter compiles nothing
            constants = self.kernel.arg_names[len(tensors) + len(self.numbers) :]
            self.rest = *self.numbers, *(self.constants[name] for name in constants)
            self.compiled = compiled[(*self.grid, 1, 1)[:3]]
