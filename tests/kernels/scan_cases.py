"""Scans for tests: drawn tensors, and the recurrence token by token."""

import random

import torch
from torch import Tensor

from visionattn.kernels import selective_scan


def drawn(seed: int, most: int = 9, channels: int = 20) -> list[Tensor]:
    """x, delta, a, b, c and the gradient of the output; float64."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    size = rng.randint(1, 3), rng.randint(1, most), rng.randint(1, most)
    width, ways, states = rng.randint(1, channels), rng.choice([1, 2, 3, 4, 4, 4]), rng.choice([1, 1, 1, 2, 5])
    shapes = [(*size, width), (*size, ways, width), (ways, width, states), *[(*size, ways, states)] * 2, (*size, width)]
    x, delta, a, b, c, grad = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return [x, 2 * delta, -a.exp(), b, c, grad]


def results(tensors: list[Tensor], backend: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The output and the gradients of x, delta, a, b and c."""
    *inputs, grad = (t.to(dtype).requires_grad_() for t in tensors)
    out = selective_scan(*inputs, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.detach())]


def token_by_token(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The definition, one token after another."""
    height, width = x.shape[1:3]
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    out: dict[tuple[int, int], Tensor] = {}
    for way, order in zip(range(a.shape[0]), (rows, columns, rows[::-1], columns[::-1]), strict=False):
        h = x.new_zeros((*x[:, 0, 0].shape, a.shape[2]))
        for i, j in order:
            step = (1 + delta[:, i, j, way].exp()).log()
            h = (step[..., None] * a[way]).exp() * h + (step * x[:, i, j])[..., None] * b[:, i, j, way, None]
            out[i, j] = out.get((i, j), 0) + (h * c[:, i, j, way, None]).sum(-1)
    return torch.stack([out[place] for place in rows], dim=1).unflatten(1, (height, width))
