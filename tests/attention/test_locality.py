"""Who sees whom, in float64: perturbing a token changes exactly the outputs whose receptive field holds it.

The receptive fields are written down here from the papers, independently of the code.
"""

import pytest
import torch
from torch import nn

from visionattn.attention import DepthwiseConvolution, FullAttention, NeighborhoodAttention, Pooling, WindowAttention


def influence(mixer: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """(H*W, H*W) bool: does output token i depend on input token j?"""
    mixer = mixer.double()
    for param in mixer.parameters():
        nn.init.normal_(param, std=0.5)
    count = size[0] * size[1]
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    batch = x.repeat(count + 1, 1, 1, 1).view(count + 1, count, 8)
    batch[torch.arange(count), torch.arange(count)] += 1.0
    with torch.no_grad():
        y = mixer(batch.view(count + 1, *size, 8)).reshape(count + 1, count, 8)
    return ((y[:count] - y[count]).abs().amax(-1) > 1e-12).T


def pairs(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Combines what is visible along each axis, (H, H) and (W, W), to (H*W, H*W)."""
    height, width = len(rows), len(columns)
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(height * width, height * width)


def same_window(length: int, window: int, shift: int) -> torch.Tensor:
    line = (torch.arange(length) - shift) // window
    return line[:, None] == line[None, :]


def neighbors(length: int, kernel: int, dilation: int) -> torch.Tensor:
    seen = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        group = range(i % dilation, length, dilation)
        place = i // dilation
        start = min(max(place - kernel // 2, 0), len(group) - kernel)
        seen[i, list(group)[start : start + kernel]] = True
    return seen


@pytest.mark.parametrize("size", [(8, 8), (12, 8)])
@pytest.mark.parametrize("index", [0, 1])
def test_windows(size, index):
    shift = 2 if index else 0
    expected = pairs(*(same_window(n, 4, shift if n > 4 else 0) for n in size))
    assert torch.equal(influence(WindowAttention(8, 2, index, window_size=4), size), expected)


def test_shifted_windows_that_do_not_divide_the_map_never_join_its_two_ends():
    seen = influence(WindowAttention(8, 2, 1, window_size=4), (10, 7))
    assert torch.equal(seen, pairs(same_window(10, 4, 2), same_window(7, 4, 2)))


@pytest.mark.parametrize("mask_padding", [False, True])
def test_padding_carries_nothing_from_token_to_token(mask_padding):
    mixer = WindowAttention(8, 2, 0, window_size=4, mask_padding=mask_padding)
    assert torch.equal(influence(mixer, (9, 6)), pairs(same_window(9, 4, 0), same_window(6, 4, 0)))


def test_masked_padding_equals_attention_within_the_cut_window():
    mixer = WindowAttention(8, 2, 0, window_size=4, mask_padding=True).double()
    x = torch.randn(1, 4, 6, 8, dtype=torch.float64)
    narrow = mixer(x[:, :, 4:])
    torch.testing.assert_close(mixer(x)[:, :, 4:], narrow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "dilation", "size"), [(3, 1, (7, 5)), (3, 2, (9, 7)), (5, 1, (11, 6)), (3, 3, (11, 10))]
)
def test_neighborhoods(kernel, dilation, size):
    mixer = NeighborhoodAttention(8, 2, 0, kernel_size=kernel, dilation=dilation)
    expected = pairs(*(neighbors(n, kernel, dilation) for n in size))
    assert torch.equal(influence(mixer, size), expected)


def test_a_dilation_per_block():
    mixers = [NeighborhoodAttention(8, 2, index, dilation=[1, 8]) for index in range(4)]
    assert [mixer.dilation for mixer in mixers] == [1, 8, 1, 8]


def test_controls():
    size = (6, 7)
    assert influence(FullAttention(8, 2), size).all()
    near = pairs(*(((torch.arange(n)[:, None] - torch.arange(n)[None]).abs() <= 1) for n in size))
    assert torch.equal(influence(Pooling(), size), near)
    assert torch.equal(influence(DepthwiseConvolution(8, kernel_size=3), size), near)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="odd"):
        Pooling(pool_size=2)
    with pytest.raises(ValueError, match="odd"):
        DepthwiseConvolution(8, kernel_size=4)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="dim 10 is not a multiple of num_heads 4"):
        WindowAttention(10, 4)
