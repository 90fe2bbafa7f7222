"""Torch's attention as the backend of one window over the whole map, where a map has more tokens than `cpp` takes."""

import pytest
import torch

from visionattn.kernels import window_attention


def test_it_is_the_dense_attention_with_its_gradients():
    leaves = [torch.randn(2, 5, 7, 2, 16, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(2, 5, 7, 2, 16, dtype=torch.float64)
    results = []
    for backend in ("fused", "reference"):
        out = window_attention(*leaves, window=(5, 7), backend=backend, scale=0.3)
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_auto_takes_it_for_large_maps_alone():
    small, large = (torch.zeros(1, side, side, 1, 16) for side in (8, 66))
    assert "keys per query" in window_attention.explain(large, large, large, window=66)["cpp"]
    for map_, side in ((small, 8), (large, 66)):
        assert window_attention.explain(map_, map_, map_, window=side)["fused"] == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"window": 4}, "on the rows window 4 does not hold 8"),
        ({"window": 8, "shift": (0, 3)}, "on the columns"),
        ({"window": 8, "bias": torch.zeros(1, 15, 15)}, "no position bias"),
    ],
)
def test_what_it_refuses(arguments, reason):
    x = torch.randn(1, 8, 8, 1, 16)
    assert reason in window_attention.explain(x, x, x, **arguments)["fused"]
