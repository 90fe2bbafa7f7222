"""Whether a layer may leave torch's operators for own code: only where nothing but the values counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

PLAIN = (Tensor, nn.Parameter)


def runs_own_code(*tensors: Tensor | None) -> bool:
    """Whether own code may read and write these tensors' memory.

    They are torch's own on the CPU, and nobody traces, counts or transforms the operators that compute with them.
    """
    return (
        all(tensor is None or (type(tensor) in PLAIN and tensor.device.type == "cpu") for tensor in tensors)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and _get_current_dispatch_mode() is None
        and not torch._C._are_functorch_transforms_active()
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of this module runs hooks."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def reduced(x: Tensor) -> bool:
    """Whether the CPU's matrix products of ``x`` are in bfloat16 here, by autocast."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
