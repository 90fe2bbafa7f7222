"""PPMA against the recorded outputs of the official code, and its attention against one written out."""

from functools import partial

import pytest
import torch

from tests.parity.recordings import check_outputs, check_parameters
from visionattn.attention import ClippedSoftmax, PolylineAttention
from visionattn.attention.polyline import prefix_sums
from visionattn.kernels import polyline

PARAMETERS = {"ppma_tiny": 14_335_272, "ppma_small": 26_969_472, "ppma_base": 54_158_524}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


def test_the_outputs_of_the_official_code():
    check_outputs("ppma_tiny")


def path(steps, start, end):
    """The sum of steps between two tokens of one row or column, without the one that lies first."""
    low, high = min(start, end), max(start, end)
    return steps[low + 1 : high + 1].sum(0)


def dense(mixer, x):
    """The mask of all pairs of tokens, token by token as the paper draws it."""
    height, width = x.shape[1:3]
    steps = torch.nn.functional.softplus(mixer.step(x.unflatten(-1, (mixer.num_heads, -1))) + mixer.step_bias[:, None])
    steps = (steps * mixer.log_decay.exp()[:, None])[0]
    across, down = steps.unbind(-1)
    tokens = [(row, column) for row in range(height) for column in range(width)]
    mask = torch.stack([
        torch.stack([path(across[y], c, s) + path(down[:, s], y, r) for r, s in tokens]) for y, c in tokens
    ])  # fmt: skip
    mask = mask.permute(2, 0, 1)
    qkv = mixer.turned(mixer.qkv(x).unflatten(-1, (3, mixer.num_heads, -1)), None)
    q, k, v = qkv.flatten(1, 2).permute(2, 0, 3, 1, 4)
    logits = q @ k.mT * q.shape[-1] ** -0.5
    if mixer.decomposed:
        same = torch.tensor([[[a[axis] == b[axis] for b in tokens] for a in tokens] for axis in (0, 1)])
        rows, columns = ((logits - mask).masked_fill(~one, float("-inf")).softmax(-1) for one in same)
        out = (columns @ (rows @ v) + rows @ (columns @ v)) / 2
    else:
        out = ((logits - mask).softmax(-1) + (logits - mask.mT).softmax(-1)) / 2 @ v
    out = out.transpose(1, 2).unflatten(1, (height, width)) + mixer.position(qkv[:, :, :, 2])
    return mixer.proj(out.flatten(3))


def gradients(mixer, out):
    torch.manual_seed(1)
    return torch.autograd.grad(out, list(mixer.parameters()), torch.randn(out.shape, dtype=out.dtype))


@pytest.mark.parametrize("decomposed", [False, True])
def test_attention_decays_along_polylines(decomposed, monkeypatch):
    mixer = PolylineAttention(8, 2, decomposed=decomposed).double()
    torch.nn.init.normal_(mixer.step.weight)
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    want = dense(mixer, x)
    torch.testing.assert_close(mixer(x), want, rtol=0, atol=1e-6)  # angles are float32
    right = gradients(mixer, want)
    for rows in (3, 1):  # at once
        monkeypatch.setitem(polyline.LOGITS_AT_ONCE, "cpu", rows * 2 * 3 * 16)
        got = gradients(mixer, mixer(x))
        for mine, theirs in zip(got, right, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        assert all(map(torch.equal, got, gradients(mixer, mixer(x))))


def test_steps_start_between_a_thousandth_and_a_tenth():
    mixer = PolylineAttention(64, 32)
    steps = torch.nn.functional.softplus(mixer.step_bias)
    assert ((steps > 0.9e-3) & (steps < 1.1e-1)).all()
    assert ((mixer.log_decay.exp() >= 1) & (mixer.log_decay.exp() <= 1.1)).all()
    down, across = mixer.bfloat16().places(torch.randn(1, 5, 6, 64).bfloat16())
    assert down.dtype == across.dtype == torch.float32


@pytest.mark.parametrize("axis", [1, 2])
def test_places_are_the_same_where_only_deterministic_algorithms_are_allowed(axis, monkeypatch):
    x = torch.rand(2, 5, 7, 3)
    want = prefix_sums(x, axis)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    torch.testing.assert_close(prefix_sums(x, axis), want)


def test_only_the_decomposed_form_has_a_softmax_that_a_backend_computes():
    clipped = ClippedSoftmax(partial(PolylineAttention, decomposed=True), gamma=-0.1)(8, 2)
    plain = PolylineAttention(8, 2, decomposed=True)
    plain.load_state_dict(clipped.state_dict())
    x = torch.randn(1, 3, 4, 8)
    assert not torch.allclose(clipped(x), plain(x), atol=1e-4)
    with pytest.raises(ValueError, match="PolylineAttention has no softmax over keys that could be clipped"):
        ClippedSoftmax(PolylineAttention, gamma=-0.1)(8, 2)
