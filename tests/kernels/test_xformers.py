"""xFormers as a backend: its cutting of windows and its refusals. The package itself runs on CUDA devices only."""

import sys
import types

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from visionattn.kernels import window_attention
from visionattn.kernels.backends import reference, xformers
from visionattn.kernels.geometry import window_geometry


@pytest.fixture
def stand_in(monkeypatch):
    """A module with xFormers' signature and layout, (B, K, N, D), on torch's own attention."""

    def memory_efficient_attention(query, key, value, attn_bias=None, scale=None):
        assert attn_bias is None or attn_bias.stride(-2) % 8 == 0
        heads_first = [t.transpose(1, 2) for t in (query, key, value)]
        return scaled_dot_product_attention(*heads_first, attn_mask=attn_bias, scale=scale).transpose(1, 2)

    ops = types.ModuleType("xformers.ops")
    ops.memory_efficient_attention = memory_efficient_attention
    package = types.ModuleType("xformers")
    package.ops = ops
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dilation", [1, (2, 3)])
def test_windows_are_cut_and_put_back(stand_in, biased, dilation):
    q, k, v = torch.randn(3, 2, 12, 18, 2, 8).unbind(0)
    geometry = window_geometry(12, 18, (2, 3), 0, dilation)
    bias = torch.randn(2, *geometry.table_shape) if biased else None
    found = xformers.attend(q, k, v, bias, geometry, 0.3)
    torch.testing.assert_close(found, reference.attend(q, k, v, bias, geometry, 0.3))


def test_refusals(monkeypatch):
    x = torch.zeros(1, 6, 6, 1, 16)
    monkeypatch.setattr(xformers, "INSTALLED", False)
    assert "not installed" in window_attention.explain(x, x, x, window=3)["xformers"]
    monkeypatch.setattr(xformers, "INSTALLED", True)
    assert "cpu" in window_attention.explain(x, x, x, window=3)["xformers"]


class OnCuda:
    """As much of a CUDA tensor as a refusal asks for."""

    is_cuda, dtype = True, torch.float32
    shape = (1, 6, 6, 1, 16)


def test_refuses_what_does_not_tile(monkeypatch):
    monkeypatch.setattr(xformers, "INSTALLED", True)
    q = OnCuda()

    def reason(window, shift=0, dilation=1, bias=None):
        return xformers.refuses(q, q, q, bias, window_geometry(6, 6, window, shift, dilation), 0.25)

    assert reason(3) == reason((1, 2), dilation=3) == ""
    assert "shift 1" in reason(3, shift=1)
    assert "do not tile 6" in reason(4)
    assert "gradient" in reason(3, bias=torch.zeros(1, 5, 5, requires_grad=True))
