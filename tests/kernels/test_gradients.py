"""Gradients against finite differences in float64, equal bits in two runs, and exact locality."""

import pytest
import torch
from torch import Tensor

from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.backends.reference import visible
from visionattn.kernels.geometry import AxisRule


def inputs(*shape: int, table: tuple[int, int], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    tensors = [torch.randn(shape, dtype=dtype) for _ in range(3)]
    return [x.requires_grad_() for x in (*tensors, torch.randn(shape[3], *table, dtype=dtype))]


@pytest.mark.parametrize("backend", ["reference", "tiled", "cpp"])
def test_gradcheck_window(backend: str) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return window_attention(q, k, v, window=(3, 2), shift=(1, 0), dilation=(1, 2), bias=bias, backend=backend)

    assert torch.autograd.gradcheck(attend, inputs(1, 3, 4, 2, 2, table=(5, 3)), fast_mode=False)


@pytest.mark.parametrize("backend", ["reference", "tiled", "cpp"])
def test_gradcheck_neighborhood(backend: str) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return neighborhood_attention(
            q, k, v, kernel_size=(3, 2), dilation=(1, 2), stride=(2, 1), bias=bias, backend=backend
        )

    assert torch.autograd.gradcheck(attend, inputs(1, 3, 4, 2, 2, table=(5, 3)), fast_mode=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_two_runs_give_equal_bits(backend: str, dtype: torch.dtype) -> None:
    q, k, v, bias = inputs(5, 15, 13, 3, 16, table=(9, 9), dtype=dtype)

    def gradients(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        out = neighborhood_attention(q, k, v, kernel_size=5, dilation=2, bias=bias, backend=backend)
        return [out, *torch.autograd.grad(out.float().square().sum(), (q, k, v, bias))]

    first, again = gradients(2), gradients(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if backend == "cpp":  # torch's own sums may be shared out differently
        single = gradients(1)
        assert all(torch.equal(a, b) for a, b in zip(first, single, strict=True))


@pytest.mark.parametrize(
    "rule", [AxisRule(3, 2, stride=1), AxisRule(4, 1, stride=3), AxisRule(4, 2, shift=3), AxisRule(5)]
)
def test_a_token_outside_the_run_changes_nothing(backend: str, rule: AxisRule) -> None:
    """The gradient map of one output is zero exactly outside the rectangle that the rule draws, and nowhere in it."""
    _, k, v, _ = inputs(1, 9, 11, 1, 4, table=(1, 1))
    q = torch.randn(1, 9, 11, 1, 4, dtype=torch.float64)
    size = {"dilation": rule.dilation}
    if rule.is_window:
        out = window_attention(q, k, v, window=rule.size, shift=(rule.shift, rule.shift), backend=backend, **size)
    else:
        out = neighborhood_attention(q, k, v, kernel_size=rule.size, stride=rule.stride, backend=backend, **size)
    rows, cols = visible(rule, 9), visible(rule, 11)
    for y, x in ((0, 0), (4, 7), (8, 10), (3, 1)):
        for gradient in torch.autograd.grad(out[0, y, x].sum(), (k, v), retain_graph=True):
            reached = gradient[0, :, :, 0].abs().sum(-1) > 0
            assert torch.equal(reached, rows[y][:, None] & cols[x][None, :])
