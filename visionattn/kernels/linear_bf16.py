"""Linear layers, and two with a GELU between, in bfloat16 under autocast on CPUs without matrix registers.

torch rounds each weight in every step and rounds its gradient too, sums the gradient of the bias in a pass of its own,
and reads and writes the widest map of a feed-forward network once more for GELU and for its slope. Here the products do
all of that (``kernels/backends/cpp/products.py``), and the gradients of weights and biases are float32.

Shapes: C channels in, E channels out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.backends.cpp import products
from visionattn.kernels.backends.cpp.packed import drop
from visionattn.kernels.eager import differentiable_gradients, differentiates, reduced, runs_own_code

Gradients = tuple[Tensor | None, ...]


def computes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the functions below compute this layer: not where somebody traces or counts torch's operators."""
    return (
        reduced(x)
        and x.dtype in (torch.float32, torch.bfloat16)
        and weight.dtype == torch.float32
        and (bias is None or (bias.dtype == torch.float32 and bias.is_contiguous()))
        and runs_own_code(x, weight, bias)  # before sizes: a traced comparison of one is a recompilation
        and x.numel() > 0
        and weight.is_contiguous()
        and weight.shape[0] % 16 == weight.shape[1] % 16 == 0
        and products.available()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer that :func:`computes` allows, any number of times differentiable.

    Shape:
        x ``(..., C)``, weight ``(E, C)``, bias ``(E,)`` ``-> (..., E)``, bfloat16
    """
    x = _narrow(x)
    if not differentiates(x, weight, bias):
        return products.linear(x, weight, bias, keep=True)
    drop(weight)
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


def feed_forward(
    x: Tensor, first: tuple[Tensor, Tensor | None], second: tuple[Tensor, Tensor | None], approximate: str
) -> Tensor:
    """Two linear layers, weight and bias of each, with a GELU between, any number of times differentiable.

    Shape:
        ``(..., C) -> (..., E)``, bfloat16
    """
    x = _narrow(x)
    if not differentiates(x, *first, *second):
        return products.feed_forward(x, first, second, approximate, keep=False)[0]
    drop(first[0])
    drop(second[0])
    out: Tensor = _FeedForward.apply(x, *first, *second, approximate)
    return out


def _narrow(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).contiguous()


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same by torch's operators."""
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _repeated(grad: Tensor, *others: Tensor | None) -> bool:
    """Whether the gradient is to be differentiated again, or traced."""
    return torch.is_grad_enabled() or not runs_own_code(grad, *others)


def _parameters(grad: Tensor, x: Tensor, weight: bool, bias: bool) -> Gradients:
    """The gradients of weight and bias, None for what is not wanted."""
    if not (weight or bias):
        return None, None
    found = products.weight_gradient(grad, x, bias)
    return found[0] if weight else None, found[1]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return products.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        (x, weight, bias), grad, wanted = ctx.saved_tensors, grads[0], ctx.needs_input_grad
        if _repeated(grad, x, weight, bias):
            return tuple(differentiable_gradients(_plain, (x, weight, bias), grad, wanted))
        grad = grad.contiguous()
        to_x = products.input_gradient(grad, weight) if wanted[0] else None
        return to_x, *_parameters(grad, x, *wanted[1:])


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None, approximate: str
    ) -> Tensor:
        out, hidden = products.feed_forward(x, (w1, b1), (w2, b2), approximate, keep=True)
        ctx.save_for_backward(x, w1, b1, w2, b2, hidden)
        ctx.approximate = approximate
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        (*inputs, hidden), grad, wanted = ctx.saved_tensors, grads[0], ctx.needs_input_grad[:5]
        if _repeated(grad, *inputs):

            def plain(x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> Tensor:
                return _plain(F.gelu(_plain(x, w1, b1), approximate=ctx.approximate), w2, b2)

            return *differentiable_gradients(plain, inputs, grad, wanted), None
        x, w1, b1, w2, b2 = inputs
        found = products.feed_forward_gradients(grad.contiguous(), x, hidden, (w1, b1), (w2, b2), ctx.approximate)
        return *(one if needed else None for one, needed in zip(found, wanted, strict=True)), None
