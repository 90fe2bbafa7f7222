"""FlexAttention as a backend: its rules against the geometry, its refusals, and one compiled call on the CPU."""

import pytest
import torch

from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.backends import flex, reference
from visionattn.kernels.geometry import neighborhood_geometry, window_geometry

GEOMETRIES = [
    window_geometry(6, 7, (3, 4), (1, 2), (2, 1)),
    neighborhood_geometry(7, 8, (3, 4), (2, 1), (1, 3)),
]
CPU = torch.device("cpu")


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=["window", "neighborhood"])
def test_mask_and_bias_are_those_of_the_reference(geometry):
    height, width = (6, 7) if geometry.is_window else (7, 8)
    query, key = torch.meshgrid(torch.arange(height * width), torch.arange(height * width), indexing="ij")
    seen = flex.mask_mod(geometry, height, width, CPU)(None, None, query, key)
    rows, cols = (reference.visible(r, n) for r, n in ((geometry.rows, height), (geometry.cols, width)))
    assert torch.equal(seen, torch.kron(rows.int(), cols.int()).bool())
    bias = torch.randn(2, *geometry.table_shape)
    down, across = (reference.table_index(r, n) for r, n in ((geometry.rows, height), (geometry.cols, width)))
    expected = bias[1][down[:, None, :, None], across[None, :, None, :]].reshape(height * width, -1)
    added = flex.bias_mod(geometry, height, width, bias)(torch.zeros(()), None, torch.tensor(1), query, key)
    assert torch.equal(added[seen], expected[seen])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("threads", [(2,), pytest.param((1, 2), marks=pytest.mark.heavy)])
def test_compiled_call_agrees_with_the_reference(threads):
    """With more threads the second call finds the first one's kernel in the cache."""
    q, k, v = torch.randn(3, 1, 6, 7, 2, 16).unbind(0)
    bias = torch.randn(2, 5, 5)
    for number in threads:
        torch.set_num_threads(number)
        found, expected = (
            neighborhood_attention(q, k, v, kernel_size=3, dilation=2, bias=bias, backend=name)
            for name in ("flex", "reference")
        )
        torch.testing.assert_close(found, expected)


def test_refusals():
    x, bias = torch.zeros(1, 4, 4, 1, 16), torch.zeros(1, 3, 3, requires_grad=True)

    def reason(q, bias=None):
        return window_attention.explain(q, q, q, window=2, bias=bias)["flex"]

    assert reason(x) == ""
    assert reason(x, bias.detach()) == ""
    assert "no backward on the CPU" in reason(x.clone().requires_grad_())
    assert "atomics" in reason(x, bias)
    with torch.no_grad():
        assert reason(x, bias) == ""
    assert "float64" in reason(x.double())
    assert "got 8" in reason(torch.zeros(1, 4, 4, 1, 8))
    elsewhere = x.to("meta")
    assert "meta" in flex.refuses(elsewhere, elsewhere, elsewhere, None, GEOMETRIES[0], 0.25)
