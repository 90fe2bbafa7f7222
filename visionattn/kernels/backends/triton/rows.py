"""Layer norms, batch norms, and GELU after a norm or a linear layer, on CUDA devices: gradients in one pass over a map.

torch computes a layer norm under autocast in float32 from a copy of the map, its linear consumer copies the result
back, and the gradients of weight and bias are a pass of their own; so is the gradient of a linear layer's bias. These
kernels take the map as it is, in the type that it has, and sum over its rows in the pass that writes the gradient of
the map. In a compiled graph the forward is torch's operators, which the compiler fuses with their neighbors. Gradients
are deterministic.

Of a batch norm and its GELU the backward takes the map before them alone. The compiler would keep a float32 copy of
what lies between, and write the gradient there in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.backends.triton import toolchain
from visionattn.kernels.eager import differentiates
from visionattn.kernels.geometry import certainly

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MOST_CHANNELS = 4096
"""Of a row that a norm holds in registers."""


def refuses(x: Tensor) -> str:
    """Why the kernels cannot read a map, or ""."""
    if reason := toolchain.refuses(x):
        return reason
    if x.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 or float16, not in {x.dtype}"
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return "a transform of functions looks into its operators"
    return "an exported graph has torch's operators" if torch.compiler.is_exporting() else ""


def norms(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    """Whether the kernels norm a map ``(..., C)`` here: parameters float32, the map float32 or autocast's type."""
    if refuses(x) or weight is None or bias is None or not weight.dtype == bias.dtype == torch.float32:
        return False
    kind = x.device.type
    reduced = torch.is_autocast_enabled(kind) and x.dtype == torch.get_autocast_dtype(kind)
    return (reduced or x.dtype == torch.float32) and weight.shape[0] <= MOST_CHANNELS


def norm_beside(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``x`` and its layer norm over the last axis, of the same type; the gradients of both are added in one pass.

    Shape:
        x ``(..., C)``, weight and bias ``(C,)`` ``->`` twice ``(..., C)``
    """
    from visionattn.kernels.backends.triton import rows_launch

    compiling = torch.compiler.is_compiling()
    if differentiates(x, weight, bias):
        same, normed = rows_launch.norm_op(_in_rows(x), weight, bias, eps, compiling)
        return _as_map(same, x), _as_map(normed, x)
    if compiling:
        return x, F.layer_norm(x.float(), weight.shape, weight, bias, eps).to(x.dtype)
    return x, rows_launch.norm_forward_op(x, weight, bias, eps)[0]


def takes_bias(x: Tensor, bias: Tensor) -> bool:
    """Whether :func:`biased_gelu` gives the gradient of the bias of the layer that gave ``(..., C)``."""
    return differentiates(bias) and not refuses(x)


def biased_gelu(x: Tensor, bias: Tensor, approximate: str) -> Tensor:
    """``gelu(x)`` of a sum x with a bias in it, and of a graph without it: the gradient of the bias comes from here.

    Shape:
        x ``(..., C)``, bias ``(C,)`` ``-> (..., C)``
    """
    from visionattn.kernels.backends.triton import rows_launch

    return _as_map(rows_launch.gelu_op(_in_rows(x), bias, approximate), x)


def _in_rows(x: Tensor) -> Tensor:
    """``(..., C)``, in a graph ``(rows, C)``.

    Beside convolutions the compiler takes the second of four axes for the channels and copies a map to have them last.
    """
    return x.flatten(0, -2) if torch.compiler.is_compiling() and x.dim() > 2 and x.is_contiguous() else x


def _as_map(y: Tensor, x: Tensor) -> Tensor:
    return y if y.dim() == x.dim() else y.view(x.shape)


def batch_norms(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether the kernels differentiate a batch norm of a map ``(B, C, H, W)``: in training, channels last."""
    weight, bias = norm.weight, norm.bias
    if type(norm) is not nn.BatchNorm2d or not norm.training or not norm.track_running_stats or norm.momentum is None:
        return False
    if refuses(x) or weight is None or weight.dtype != torch.float32 or x.ndim != 4 or x.stride(1) != 1:
        return False
    return differentiates(x, weight, bias) and not certainly(x.numel() == x.shape[1])  # torch refuses one value


def batch_norm(norm: nn.BatchNorm2d, x: Tensor, gelu: str) -> Tensor:
    """``gelu(norm(x))`` in training, for :func:`batch_norms`; its running statistics follow.

    Args:
        norm: batch norm.
        x: map ``(B, C, H, W)``.
        gelu: ``none`` or ``tanh``, as ``torch.nn.GELU`` names them; empty: none follows.

    Shape:
        x ``-> (B, C, H, W)``
    """
    from visionattn.kernels.backends.triton import batch_norm_launch

    out, mean, rstd = batch_norm_launch.batch_norm_op(x, norm.weight, norm.bias, norm.eps, gelu)
    assert norm.momentum is not None
    with torch.no_grad():
        count = x.shape[0] * x.shape[2] * x.shape[3]
        variance = (rstd.pow(-2) - norm.eps) * (count / (count - 1))
        for running, found in ((norm.running_mean, mean), (norm.running_var, variance)):
            assert running is not None
            running.lerp_(found.to(running.dtype), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return out
