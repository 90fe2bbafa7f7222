"""SegMAN against the recorded outputs of the official code, and its mixer of the last stage written out."""

import pytest
import torch
from torch.nn import functional as F

from visionattn.attention import NeighborhoodFull


def dense(mixer, x):
    """Both attentions as matrices over all pairs of tokens; maps at least as large as the kernel."""
    height, width = x.shape[1:3]
    turned = mixer.turned(mixer.qkv(x).unflatten(-1, (3, mixer.num_heads, -1)), None)
    q, k, v = turned.flatten(1, 2).permute(2, 0, 3, 1, 4)
    rows, columns = mixer.kernel_size
    table = torch.full((mixer.num_heads, height * width, height * width), float("-inf"), dtype=x.dtype)
    for query in range(height * width):
        y, x0 = divmod(query, width)
        top, left = (min(max(at - n // 2, 0), side - n) for at, n, side in ((y, rows, height), (x0, columns, width)))
        for row in range(top, top + rows):
            for column in range(left, left + columns):
                near = mixer.bias_table[:, row - y + rows - 1, column - x0 + columns - 1]
                table[:, query, row * width + column] = near
    logits = q @ k.mT * q.shape[-1] ** -0.5
    near = (logits + table).softmax(-1) @ v
    pairs = F.interpolate(mixer.pair_bias[None], size=(height * width,) * 2, mode="bicubic")[0]
    out = ((logits + pairs).softmax(-1) @ near).transpose(1, 2).unflatten(1, (height, width))
    return mixer.proj((out + mixer.position(turned[:, :, :, 2])).flatten(3))


@pytest.mark.parametrize("size", [(3, 3), (5, 4)])
def test_the_last_stage_attends_to_neighborhoods_and_then_to_all(size):
    mixer = NeighborhoodFull(16, 2, kernel_size=3, map_size=3).double()
    for table in (mixer.bias_table, mixer.pair_bias):
        torch.nn.init.normal_(table)
    x = torch.randn(2, *size, 16, dtype=torch.float64)
    want = dense(mixer, x)
    torch.testing.assert_close(mixer(x), want, rtol=0, atol=1e-6)  # angles are float32
    draw = torch.randn_like(want)
    mine, right = (torch.autograd.grad(out, list(mixer.parameters()), draw) for out in (mixer(x), want))
    for one, other in zip(mine, right, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_map_or_heads_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"the sides of map_size must be positive, got \(0, 7\)"):
        NeighborhoodFull(16, 2, map_size=(0, 7))
    with pytest.raises(ValueError, match="head widths that are multiples of 4, got 6"):
        NeighborhoodFull(12, 2)
    assert NeighborhoodFull(16, 2, map_size=None).pair_bias is None
