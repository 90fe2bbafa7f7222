"""Clipped softmax: the published formula against dense code, on any mixer with a softmax, and in exported graphs."""

from functools import partial

import pytest
import torch

from tests.contracts.test_mixers import ALL, DIM, build
from visionattn.attention import (
    Alternate,
    ClippedSoftmax,
    ContinuousWindowAttention,
    FullAttention,
    GatedHeads,
    NeighborhoodAttention,
    NoMixing,
    SigmoidGate,
    StripSelfAttention,
    WindowAttention,
)
from visionattn.export.graph_modules import traceable
from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.backends.clipped import ClippedProbabilities, clipped_softmax
from visionattn.kernels.backends.reference import table_index, visible
from visionattn.kernels.geometry import neighborhood_geometry, window_geometry

CASES = {
    "whole windows": (window_attention, {"window": (2, 3)}),
    "cut windows": (window_attention, {"window": (3, 4), "shift": (1, 2)}),
    "grid": (window_attention, {"window": (2, 3), "dilation": (2, 3)}),
    "neighborhood": (neighborhood_attention, {"kernel_size": 3}),
    "dilated": (neighborhood_attention, {"kernel_size": 2, "dilation": 2}),
}


def dense(q, k, v, bias, geometry, gamma, eta, per_key):
    """All pairs of a map, masked: the definition."""
    height, width = q.shape[1:3]
    seen = (visible(geometry.rows, height)[:, None, :, None] & visible(geometry.cols, width)[None, :, None]).flatten(2)
    rows, cols = table_index(geometry.rows, height), table_index(geometry.cols, width)
    logits = torch.einsum("bhwnd,bijnd->bnhwij", q * q.shape[-1] ** -0.5, k)
    logits = (logits + bias[:, rows[:, None, :, None], cols[None, :, None]]).flatten(-2)
    weights = logits.masked_fill(~seen, float("-inf")).softmax(-1)
    lower = gamma / seen.sum(-1, keepdim=True) if per_key else gamma
    clipped = ((eta - lower) * weights + lower).clamp(0, 1)
    return torch.einsum("bnhwij,bijnd->bhwnd", clipped.unflatten(-1, (height, width)), v)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("gamma", "eta", "per_key"), [(-2.0, 1.0, True), (-0.05, 1.05, False), (0.0, 1.0, False)])
def test_it_is_the_published_formula_with_its_gradient(name, gamma, eta, per_key):
    torch.manual_seed(0)
    op, options = CASES[name]
    make = window_geometry if op is window_attention else neighborhood_geometry
    defaults = {"shift": 0, "dilation": 1} if op is window_attention else {"dilation": 1, "stride": 1}
    geometry = make(4, 6, **(defaults | options))
    q, k, v = (torch.randn(2, 4, 6, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    bias = torch.randn(2, *geometry.table_shape, dtype=torch.float64, requires_grad=True)
    backend = clipped_softmax(ClippedProbabilities(gamma, eta, per_key))
    found = op(q, k, v, **options, bias=bias, backend=backend)
    expected = dense(q, k, v, bias, geometry, gamma, eta, per_key)
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, [q, k, v, bias], grad),
        torch.autograd.grad(expected, [q, k, v, bias], grad),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    if gamma == 0:
        torch.testing.assert_close(found, op(q, k, v, **options, bias=bias))


def test_a_head_can_say_nothing():
    mixer = ClippedSoftmax(FullAttention, alpha=4.0)(8, 2)
    torch.nn.init.zeros_(mixer.qkv.weight)  # all keys alike: each gets 1 / keys, which is clipped to 0
    torch.nn.init.ones_(mixer.qkv.bias)
    torch.testing.assert_close(mixer(torch.randn(1, 3, 4, 8)), mixer.proj.bias.expand(1, 3, 4, 8))


@pytest.mark.parametrize("name", [name for name in ALL if "/" not in name])
def test_every_mixer_is_clipped_or_refuses(name):
    torch.manual_seed(0)
    plain = build(name, 1)
    factory = ClippedSoftmax(lambda **given: build(name, given["index"], given["dim"], given["num_heads"]), gamma=-0.5)
    if not any(
        getattr(part, "backend", None) == "auto" and not getattr(part, "without_softmax", False)
        for part in plain.modules()
    ):
        with pytest.raises(ValueError, match=r"has no softmax over keys|which cannot clip"):
            factory(DIM, 4, 1)
        return
    mixer = factory(DIM, 4, 1)
    for param in plain.parameters():
        torch.nn.init.normal_(param, std=0.3)
    mixer.load_state_dict(plain.state_dict())
    x = torch.randn(1, 9, 10, DIM)
    with torch.no_grad():
        assert float((mixer.eval()(x) - plain.eval()(x)).abs().max()) > 1e-3


def test_tokens_that_lie_on_no_common_map_are_clipped_too():
    torch.manual_seed(0)
    mixer = ClippedSoftmax(partial(StripSelfAttention, reduction=2), alpha=3.0)(16, 2).double()
    x = torch.randn(2, 4, 6, 16, dtype=torch.float64)
    cells = mixer.cells(x)
    q, k, v = (mixer._heads(part) for part in (mixer.q(x), mixer.k(cells), mixer.v(cells)))
    weights = torch.einsum("btnd,bsnd->bnts", q * mixer.thin**-0.5, k).softmax(-1)
    clipped = (weights * (1 + 3 / 6) - 3 / 6).clamp(0, 1)
    expected = mixer.proj(torch.einsum("bnts,bsne->btne", clipped, v).reshape(2, 4, 6, 16))
    torch.testing.assert_close(mixer(x), expected)


def test_it_stands_with_gates_and_in_turns_and_stays_in_exported_copies():
    torch.manual_seed(0)
    both = GatedHeads(ClippedSoftmax(WindowAttention, gamma=-0.3), SigmoidGate)(16, 4, 1)
    x = torch.randn(1, 9, 10, 16)
    torch.testing.assert_close(traceable(both)(x), both(x))
    assert traceable(both).backend.name == "clipped softmax"
    torch._dynamo.reset()
    compiled = torch.compile(both, fullgraph=True, backend="eager", dynamic=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), both(x))
    turns = ClippedSoftmax(Alternate([FullAttention, NeighborhoodAttention]), gamma=-0.3)
    assert [type(turns(16, 4, index)).__name__ for index in (0, 1)] == ["FullAttention", "NeighborhoodAttention"]


def test_what_cannot_be_clipped_is_refused():
    with pytest.raises(ValueError, match="NoMixing has no softmax over keys"):
        ClippedSoftmax(NoMixing, alpha=2.0)(8, 2)
    with pytest.raises(ValueError, match="FullAttention is to compute by reference, which cannot clip"):
        ClippedSoftmax(partial(FullAttention, backend="reference"), alpha=2.0)(8, 2)
    with pytest.raises(ValueError, match="either alpha or gamma, got None and None"):
        ClippedSoftmax(FullAttention)
    with pytest.raises(ValueError, match=r"gamma <= 0 and eta >= 1, got 0\.1"):
        ClippedSoftmax(FullAttention, gamma=0.1)
    carriers = ClippedSoftmax(partial(ContinuousWindowAttention, window_size=2, carriers=1), gamma=-0.5)(8, 2)
    tokens = torch.randn(1, 1, 1, 5, 8)
    clipped = carriers.with_carriers()(tokens).detach()
    carriers.backend = "auto"
    assert float((carriers.with_carriers()(tokens).detach() - clipped).abs().max()) > 1e-4
