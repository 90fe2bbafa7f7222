"""The implicit attention of a mixer without a matrix over tokens: which tokens its output depends on, by its gradient.

Shapes: H W map, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from visionattn.analysis.trace import Part, Size

_DRAWS = 16


def implicit_attention(part: Part, token: Size, draws: int = _DRAWS) -> Tensor:
    """How much one token of a mixer's output depends on each token of its input, ``(H, W)``, summing to 1.

    The number for an input token is the Frobenius norm of the Jacobian between its channels and those of the output
    token (a norm over C x C derivatives). It is estimated from products with random signs, whose mean square is its
    square (Hutchinson 1990); which numbers are zero is exact.

    Args:
        part: a recorded mixer.
        token: row and column of the output.
        draws: random signs of each channel.
    """
    x, *context = part.inputs
    inputs = x.detach().requires_grad_()
    signs = torch.Generator(device="cpu").manual_seed(0)
    with torch.enable_grad():
        out = part.mixer(inputs, *(_detached(value) for value in context))[0, token[0], token[1]]
        if not out.requires_grad:  # it depends on no token at all
            return torch.zeros(x.shape[1:3], dtype=x.dtype, device=x.device)
        squares = torch.zeros(x.shape[1:3], dtype=x.dtype, device=x.device)
        for _ in range(draws):
            sign = torch.randint(0, 2, out.shape, generator=signs).to(out) * 2 - 1
            (gradient,) = torch.autograd.grad(out, inputs, sign, retain_graph=True)
            squares += gradient[0].square().sum(-1)
    norm = squares.sqrt()
    return norm / norm.sum().clamp_min(torch.finfo(norm.dtype).tiny)


def _detached(value: Any) -> Any:
    """A stage's context without its graph: its tokens are no tokens of the map that went in."""
    from dataclasses import replace

    tokens = getattr(value, "tokens", None)
    return value if tokens is None else replace(value, tokens=tokens.detach())
