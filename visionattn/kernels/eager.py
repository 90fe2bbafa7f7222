"""Whether a layer may leave torch's operators for own code: only where nothing but the values counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

PLAIN = (Tensor, nn.Parameter)


def runs_own_code(*tensors: Tensor | None) -> bool:
    """Whether own code may read and write these tensors' memory.

    They are torch's own on the CPU, and nobody traces, counts or transforms the operators that compute with them.
    """
    return (
        all(tensor is None or (type(tensor) in PLAIN and tensor.device.type == "cpu") for tensor in tensors)
        and not torch.compiler.is_compiling()
        and not transformed()
        and _get_current_dispatch_mode() is None
    )


def transformed() -> bool:
    """Whether torch transforms or records the operators that run here, which have to be its own.

    So do ``torch.func`` and derivatives in forward mode, for which own operators have no rules, and
    ``torch.onnx.export`` and ``torch.jit.trace``, whose files are read where these operators do not exist. A program of
    ``torch.export`` keeps them: with them it serves every size.
    """
    if torch.compiler.is_exporting():
        return torch.onnx.is_in_onnx_export()
    return not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or torch.jit.is_tracing() or forward_ad._current_level >= 0
    )


def differentiates(*tensors: Tensor | None) -> bool:
    """Whether what is computed with these tensors has a gradient."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def autocast_disabled(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast switched off; torch's meta device has none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of this module runs hooks."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def reduced(x: Tensor) -> bool:
    """Whether the CPU's matrix products of ``x`` are in bfloat16 here, by autocast."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def differentiable_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of ``function(*inputs)`` by torch's operators, so that they can be differentiated again.

    None stands for those that are not wanted.
    """
    leaves = [tensor for tensor, needed in zip(inputs, wanted, strict=True) if needed]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(function(*inputs), leaves, grad, create_graph=True))
    return [next(found) if needed else None for needed in wanted]
