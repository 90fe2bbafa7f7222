"""Random calls of the two ops of maps, and how to compare two backends on one of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.op import Op


@dataclass(frozen=True)
class Case:
    """One call: an op, its options, the inputs that need a gradient, and the gradient of its output."""

    op: Op
    options: dict[str, Any]
    inputs: tuple[Tensor, ...]
    grad: Tensor

    def run(self, backend: str, dtype: torch.dtype | None = None) -> list[Tensor]:
        """The output and the gradient of every input, computed in `dtype`."""
        inputs = [x.detach().to(dtype or x.dtype).requires_grad_() for x in self.inputs]
        q, k, v, *bias = inputs
        out = self.op(q, k, v, bias=bias[0] if bias else None, backend=backend, **self.options)
        return [out.detach(), *torch.autograd.grad(out, inputs, self.grad.to(out.dtype))]

    def run_packed(self, backend: str, dtype: torch.dtype | None = None) -> list[Tensor]:
        """As `run`, through one tensor that holds q, k and v, which must have one width."""
        q, k, v, *bias = [x.detach().to(dtype or x.dtype).requires_grad_() for x in self.inputs]
        qkv = torch.stack((q, k, v), 3).detach().requires_grad_()
        out = self.op.packed(qkv, bias=bias[0] if bias else None, backend=backend, **self.options)
        gradient, *table = torch.autograd.grad(out, [qkv, *bias], self.grad.to(out.dtype))
        return [out.detach(), *gradient.unbind(3), *table]

    def of_one_width(self) -> Case:
        """The same case with values as wide as queries."""
        q, k, _, *bias = self.inputs
        return Case(self.op, self.options, (q, k, q.flip(1).sin(), *bias), k.cos())

    def __str__(self) -> str:
        return f"{self.op.name} {tuple(self.inputs[0].shape)} E={self.inputs[2].shape[-1]} {self.options}"


def random_case(seed: int) -> Case:
    """A case in float64; sizes up to 15, odd and even, tiles and groups cut in every way."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    batch, heads, depth, value_depth = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 20), rng.randint(1, 20)
    height, width = rng.randint(2, 15), rng.randint(2, 15)
    if rng.random() < 0.5:
        op: Op = window_attention
        size = rng.randint(1, 17), rng.randint(1, 17)
        options = {"window": size, "shift": tuple(rng.randrange(s) for s in size)}
        options["dilation"] = (rng.randint(1, 4), rng.randint(1, 4))
    else:
        op = neighborhood_attention
        size = rng.randint(2, height), rng.randint(2, width)
        options = {"kernel_size": size, "stride": tuple(rng.randint(1, s) for s in size)}
        options["dilation"] = (rng.randint(1, height // size[0]), rng.randint(1, width // size[1]))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    tokens = (batch, height, width, heads)
    inputs = [normal(*tokens, depth), normal(*tokens, depth), normal(*tokens, value_depth)]
    if rng.random() < 0.75:
        inputs.append(normal(heads, 2 * size[0] - 1, 2 * size[1] - 1))
    return Case(op, options, tuple(inputs), normal(*tokens, value_depth))


def assert_same(case: Case, backend: str, tolerance: float = 1e-12) -> None:
    """In float64, the output and every gradient of `backend` are the reference's."""
    compare(case.run(backend), case, backend, tolerance)
    even = case.of_one_width()
    compare(even.run_packed(backend), even, f"{backend}, packed", tolerance)


def compare(results: list[Tensor], case: Case, backend: str, tolerance: float) -> None:
    for ours, truth in zip(results, case.run("reference"), strict=True):
        worst = float((ours - truth).abs().max())
        assert worst <= tolerance * (1 + float(truth.abs().max())), f"{backend}: off by {worst:.1e} in {case}"
