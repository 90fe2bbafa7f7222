"""Logits that fall by the distance of places: every backend against the dense formula, forward and gradients."""

import pytest
import torch

from visionattn.kernels import window_attention
from visionattn.kernels.decay import as_channels, split

BACKENDS = ["reference", "tiled", "traceable", "cpp"]
SHAPES = [((1, 13), (5, 13), (0, 0)), ((6, 1), (6, 4), (0, 0)), ((1, 5), (3, 12), (0, 2)), ((3, 4), (7, 9), (1, 2))]


def maps(size, heads=3, depth=4, wide=5, dtype=torch.float64):
    torch.manual_seed(0)
    q, k = (torch.randn(2, *size, heads, depth, dtype=dtype, requires_grad=True) for _ in range(2))
    v = torch.randn(2, *size, heads, wide, dtype=dtype, requires_grad=True)
    places = torch.rand(2, *size, heads, dtype=torch.float64).cumsum(2).to(dtype).requires_grad_()
    bias = torch.randn(heads, 99, 99, dtype=dtype, requires_grad=True)
    return q, k, v, places, bias


def dense(q, k, v, places, bias, window, shift):
    """Over all pairs of tokens, written out."""
    height, width = q.shape[1:3]
    row, column = (x.flatten() for x in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    part = [(x - s + w) // w for x, s, w in zip((row, column), shift, window, strict=True)]
    seen = (part[0][:, None] == part[0]) & (part[1][:, None] == part[1])
    flat = [x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)]
    at = places.flatten(1, 2).transpose(1, 2)
    logits = flat[0] @ flat[1].mT * q.shape[-1] ** -0.5 - (at[..., :, None] - at[..., None, :]).abs()
    offset = [(x[None] - x[:, None] + w - 1).clamp(0, 2 * w - 2) for x, w in zip((row, column), window, strict=True)]
    logits = (logits + bias[:, offset[0], offset[1]]).masked_fill(~seen, float("-inf"))
    return (logits.softmax(-1) @ flat[2]).transpose(1, 2).unflatten(1, (height, width))


def results(function, inputs, seed=1):
    out = function(*inputs)
    torch.manual_seed(seed)
    return [out.detach(), *torch.autograd.grad(out, inputs, torch.randn(out.shape, dtype=torch.float64).to(out.dtype))]


@pytest.mark.parametrize(("window", "size", "shift"), SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_gives_the_dense_formula_and_its_gradients(backend, window, size, shift):
    *inputs, bias = maps(size)
    table = bias[:, : 2 * window[0] - 1, : 2 * window[1] - 1].detach().requires_grad_()

    def fused(q, k, v, places, table):
        options = {"window": window, "shift": shift, "bias": table, "decay": places, "backend": backend}
        return window_attention(q, k, v, **options)

    def plain(q, k, v, places, table):
        return dense(q, k, v, places, table, window, shift)

    got, want = results(fused, [*inputs, table]), results(plain, [*inputs, table])
    for mine, right in zip(got, want, strict=True):
        torch.testing.assert_close(mine, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", ["tiled", "cpp"])
def test_float32_and_equal_bits(backend):
    inputs = maps((5, 60), depth=16, wide=16, dtype=torch.float32)[:4]

    def fused(q, k, v, places):
        return window_attention(q, k, v, window=(1, 60), decay=places, backend=backend)

    got, again = results(fused, inputs), results(fused, inputs)
    assert all(torch.equal(a, b) for a, b in zip(got, again, strict=True))
    exact = [x.detach().double().requires_grad_() for x in inputs]

    def plain(q, k, v, places):
        return window_attention(q, k, v, window=(1, 60), decay=places, backend="reference")

    for mine, right in zip(got, results(plain, exact), strict=True):
        scale = float(right.abs().max())
        torch.testing.assert_close(mine.double(), right, rtol=0, atol=1e-5 * scale, check_dtype=False)


@pytest.mark.parametrize("backend", ["tiled", "cpp"])
def test_half_types_hold_a_place_in_three_channels(backend):
    places = torch.rand(50, dtype=torch.float32).cumsum(0) * 3
    channels = as_channels(places, torch.bfloat16)
    assert channels.shape == (50, 3)
    _, found = split(channels, 3)
    torch.testing.assert_close(found, places, rtol=1e-6, atol=0)
    q, k, v, at, _ = maps((3, 40), depth=8, wide=8, dtype=torch.float32)
    want = window_attention(q, k, v, window=(1, 40), decay=at, backend="reference")
    half = window_attention(*(x.bfloat16() for x in (q, k, v)), window=(1, 40), decay=at, backend=backend)
    assert half.dtype == torch.bfloat16
    assert ((half.float() - want).norm() / want.norm()).item() < 0.02
    gradients = torch.autograd.grad(half.float().square().sum(), (q, k, v, at))
    for gradient, right in zip(gradients, torch.autograd.grad(want.square().sum(), (q, k, v, at)), strict=True):
        assert gradient.dtype == right.dtype
        assert ((gradient - right).norm() / right.norm()).item() < 0.05


def test_probabilities_know_of_places():
    q, k, v, places, _ = (x.detach() for x in maps((2, 9)))
    options = {"window": (1, 9), "decay": places}
    weights = window_attention.probabilities(q, k, **options)
    out = torch.einsum("bnhwij,bijne->bhwne", weights, v)
    torch.testing.assert_close(out, window_attention(q, k, v, **options))
    qkv = torch.stack([q, k, v[..., :4]], dim=3)
    packed = window_attention.packed(qkv, **options)
    torch.testing.assert_close(packed, window_attention(q, k, v[..., :4], **options))


def test_what_cannot_be_is_refused():
    q, k, v, places, _ = (x.detach() for x in maps((2, 9)))
    for wrong, error, message in (
        (places[..., :1], ValueError, r"decay must be \(B, H, W, heads\) = \(2, 2, 9, 3\), got \(2, 2, 9, 1\)"),
        (places.long(), TypeError, "decay must be floating point, got torch.int64"),
    ):
        with pytest.raises(error, match=message):
            window_attention(q, k, v, window=(1, 9), decay=wrong)
    half = [x.bfloat16() for x in (q, k, v)]
    reasons = window_attention.explain(*half, window=(1, 9), decay=places)
    assert reasons["cpp"] == reasons["tiled"] == ""
