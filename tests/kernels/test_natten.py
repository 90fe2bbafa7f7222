"""NATTEN as a backend, and as an independent witness of the neighborhood's rules."""

import pytest
import torch

from visionattn.kernels import neighborhood_attention

pytest.importorskip("natten", reason="the package natten is not installed")

ITS_OWN_WARNINGS = pytest.mark.filterwarnings("ignore:flex_attention called without", "ignore:return_lse is deprecated")
SHAPES = [
    ((7, 9), {"kernel_size": 3}),
    ((7, 9), {"kernel_size": (4, 2)}),
    ((11, 10), {"kernel_size": (3, 2), "dilation": (3, 4)}),
    ((10, 9), {"kernel_size": (5, 4), "stride": (3, 2)}),
    ((11, 9), {"kernel_size": (3, 3), "stride": (3, 2), "dilation": (2, 3)}),
]


@ITS_OWN_WARNINGS
@pytest.mark.parametrize(("size", "geometry"), SHAPES, ids=str)
def test_natten_and_the_reference_agree(size, geometry):
    q, k, v = torch.randn(3, 2, *size, 2, 16).unbind(0)
    found, expected = (neighborhood_attention(q, k, v, **geometry, backend=name) for name in ("natten", "reference"))
    torch.testing.assert_close(found, expected)


def test_refusals():
    def reason(q, kernel_size=3, v=None, **named):
        return neighborhood_attention.explain(q, q, q if v is None else v, kernel_size=kernel_size, **named)["natten"]

    x = torch.zeros(1, 6, 6, 1, 16)
    assert reason(x) == ""
    assert "no relative-position bias since 0.20" in reason(x, bias=torch.zeros(1, 5, 5))
    assert "no backward on the CPU" in reason(x.clone().requires_grad_())
    assert "got 24" in reason(torch.zeros(1, 6, 6, 1, 24))
    assert "got 32 and 16" in reason(x, v=torch.zeros(1, 6, 6, 1, 32))
    assert "float64" in reason(x.double())
    assert "whole map" in reason(x, kernel_size=6)
    assert "scale of zero" in reason(x, scale=0.0)
