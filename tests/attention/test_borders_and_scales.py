"""Mixers without a model of their own against plain formulations of their papers, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.attention.test_locality import influence, pairs, same_window
from visionattn.attention import (
    ContentFreeAttention,
    MultipoleAttention,
    MultiScaleAttention,
    NeighborhoodAttention,
    OverlappingWindowAttention,
    WindowAttention,
)


def drawn(mixer: nn.Module) -> nn.Module:
    for param in mixer.parameters():
        nn.init.normal_(param, std=0.5)
    return mixer.double()


def image(*size: int) -> torch.Tensor:
    return torch.randn(2, *size, 16, dtype=torch.float64)


def heads_of(mixer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """q, k and v, ``(3, B, N, D, H, W)``."""
    return mixer.qkv(x).unflatten(-1, (3, mixer.num_heads, -1)).permute(3, 0, 4, 5, 1, 2)


def unfolded(x: torch.Tensor, size: int, *, stride: int = 1, dilation: int = 1, padding: int) -> torch.Tensor:
    """The zero-padded patches of ``(B, N, D, H, W)``: ``(B, N, D, K, L)``."""
    columns = F.unfold(x.flatten(1, 2), size, dilation=dilation, padding=padding, stride=stride)
    return columns.view(*x.shape[:3], size * size, -1)


@pytest.mark.parametrize(
    ("kernel", "dilation", "size"), [(3, 1, (5, 7)), (3, 2, (6, 4)), (5, 3, (2, 9)), (7, 1, (1, 1))]
)
def test_zeros_beyond_the_border_are_keys(kernel, dilation, size):
    mixer = drawn(NeighborhoodAttention(16, 2, kernel_size=kernel, dilation=dilation, bias=False, zero_padding=True))
    x = image(*size)
    q, k, v = heads_of(mixer, x)
    reach = dilation * (kernel // 2)
    k, v = (unfolded(part, kernel, dilation=dilation, padding=reach) for part in (k, v))
    weights = (torch.einsum("bndl,bndkl->bnkl", q.flatten(-2), k) / 8**0.5).softmax(2)
    want = torch.einsum("bnkl,bndkl->blnd", weights, v).reshape(x.shape)
    torch.testing.assert_close(mixer(x), mixer.proj(want), rtol=1e-9, atol=1e-11)


def test_far_from_the_border_zeros_change_nothing():
    zeros = drawn(NeighborhoodAttention(16, 2, kernel_size=5, zero_padding=True))
    moved = NeighborhoodAttention(16, 2, kernel_size=5).double()
    moved.load_state_dict(zeros.state_dict())
    x = image(9, 11)
    torch.testing.assert_close(zeros(x)[:, 2:-2, 2:-2], moved(x)[:, 2:-2, 2:-2], rtol=1e-9, atol=1e-11)
    assert (zeros(x) - moved(x))[:, :2].abs().amax() > 1e-3


def test_zero_padding_with_a_stride_is_refused():
    with pytest.raises(ValueError, match="zero_padding needs a stride of 1, got 2"):
        NeighborhoodAttention(16, 2, kernel_size=3, stride=2, zero_padding=True)


@pytest.mark.parametrize(
    ("window", "overlap", "size"), [(4, 1, (8, 12)), (4, 2, (4, 8)), (3, 2, (6, 9)), (2, 3, (6, 4))]
)
def test_windows_see_their_margin(window, overlap, size):
    mixer = drawn(OverlappingWindowAttention(16, 2, window_size=window, overlap=overlap))
    x = image(*size)
    q, k, v = heads_of(mixer, x)
    wide = window + 2 * overlap
    q = unfolded(q, window, stride=window, padding=0)
    k, v = (unfolded(part, wide, stride=window, padding=overlap) for part in (k, v))
    at = torch.arange(wide)[None] - torch.arange(window)[:, None] + window - 1  # key minus query from -(M-1)-overlap on
    bias = mixer.bias_table[:, at[:, None, :, None], at[None, :, None, :]].flatten(3).flatten(1, 2)
    logits = torch.einsum("bndql,bndkl->bnlqk", q, k) / 8**0.5 + bias[:, None]
    heads = torch.einsum("bnlqk,bndkl->bndql", logits.softmax(-1), v).flatten(1, 3)
    want = F.fold(heads, size, window, stride=window).permute(0, 2, 3, 1)
    torch.testing.assert_close(mixer(x), mixer.proj(want), rtol=1e-9, atol=1e-11)


def test_who_sees_whom_in_overlapping_windows():
    def seen(length):
        start = torch.arange(length) // 4 * 4
        key = torch.arange(length)
        return (key[None] >= start[:, None] - 1) & (key[None] < start[:, None] + 5)

    expected = pairs(seen(8), seen(12))
    assert torch.equal(influence(OverlappingWindowAttention(8, 2, window_size=4, overlap=1), (8, 12)), expected)


@pytest.mark.parametrize("arguments", [{"window_size": 0}, {"overlap": -1}, {"window_size": 1, "overlap": 0}])
def test_overlaps_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"a window has two keys a side or more, got window_size \d and overlap"):
        OverlappingWindowAttention(16, 2, **arguments)


def test_each_group_of_heads_has_its_size():
    mixer = drawn(MultiScaleAttention(16, 4, kernel_sizes=[3, 5]))
    x = image(6, 9)
    got, heads = mixer(x), []
    for group, size in enumerate((3, 5)):
        alone = NeighborhoodAttention(16, 4, kernel_size=size).double()
        table = getattr(mixer, f"bias_table{group + 1}").repeat(2, 1, 1)
        state = mixer.state_dict() | {"bias_table": table, "proj.weight": torch.eye(16), "proj.bias": torch.zeros(16)}
        alone.load_state_dict({name: value for name, value in state.items() if name not in mixer.position_tables})
        heads.append(alone(x)[..., 8 * group : 8 * group + 8])
    torch.testing.assert_close(got, mixer.proj(torch.cat(heads, -1)), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("sizes", "heads"), [([3, 5, 7], 4), ([], 4), ([1, 3], 4)])
def test_sizes_that_do_not_divide_the_heads_are_refused(sizes, heads):
    with pytest.raises(ValueError, match=f"whose number divides the heads, got .* for {heads} heads"):
        MultiScaleAttention(16, heads, kernel_sizes=sizes)


@pytest.mark.parametrize("learned", [True, False])
def test_results_are_added_from_the_coarsest_map_on(learned):
    mixer = drawn(MultipoleAttention(16, 2, window_size=2, levels=3, learned=learned))
    x = image(8, 12)

    def down(x):
        x = x.permute(0, 3, 1, 2)
        x = mixer.down(x) if learned else F.avg_pool2d(x, 2)
        return x.permute(0, 2, 3, 1)

    def up(x):
        x = x.permute(0, 3, 1, 2)
        x = mixer.up(x) if learned else F.interpolate(x, scale_factor=2, mode="nearest")
        return x.permute(0, 2, 3, 1)

    half, quarter = down(x), down(down(x))
    fine, middle, coarse = mixer.attention(x), mixer.attention(mixer.norm(half)), mixer.attention(mixer.norm(quarter))
    want = fine + up(middle + up(coarse)) / 2
    torch.testing.assert_close(mixer(x), want, rtol=1e-9, atol=1e-11)


def test_a_pyramid_lets_far_windows_meet():
    flat = influence(MultipoleAttention(8, 2, window_size=2, levels=1), (8, 8))
    assert torch.equal(flat, pairs(same_window(8, 2, 0), same_window(8, 2, 0)))
    assert influence(MultipoleAttention(8, 2, window_size=2, levels=3), (8, 8)).all()


@pytest.mark.parametrize("arguments", [{"levels": 0}, {"rate": 1}])
def test_pyramids_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match="levels is 1 or more and rate 2 or more, got levels"):
        MultipoleAttention(16, 2, **arguments)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_controls_are_window_attention_without_content(bias, index):
    control = drawn(ContentFreeAttention(16, 2, index, window_size=4, bias=bias))
    window = WindowAttention(16, 2, index, window_size=4, bias=bias).double()
    state = {name: value for name, value in control.state_dict().items() if not name.startswith("v.")}
    for name in ("weight", "bias"):
        value = control.state_dict()[f"v.{name}"]
        state[f"qkv.{name}"] = torch.cat([torch.zeros_like(value), torch.zeros_like(value), value])
    window.load_state_dict(state)
    x = image(7, 10)
    torch.testing.assert_close(control(x), window(x), rtol=1e-9, atol=1e-11)
    if not bias and not index:
        mean = control.proj(control.v(x[:, :4, :4].mean((1, 2))))
        torch.testing.assert_close(control(x)[:, 1, 2], mean, rtol=1e-9, atol=1e-11)
