"""Agreement with the projects whose definitions the ops take over: natten, timm's Swin and MaxViT."""

import pytest
import torch
from timm.models.maxxvit import grid_partition, grid_reverse
from timm.models.swin_transformer import SwinTransformerBlock
from torch.nn.functional import scaled_dot_product_attention

from visionattn.kernels import neighborhood_attention, window_attention


@pytest.mark.filterwarnings("ignore")  # natten and FlexAttention warn about themselves
@pytest.mark.parametrize(
    ("kernel_size", "dilation", "stride"),
    [(3, 1, 1), ((4, 5), (3, 2), (1, 1)), ((5, 6), (2, 1), (3, 4)), ((7, 2), (1, 5), (7, 2)), ((13, 11), 1, 1)],
)
def test_natten(backend: str, kernel_size: int, dilation: int, stride: int) -> None:
    natten = pytest.importorskip("natten")
    q, k, v = (torch.randn(2, 13, 11, 2, 16) for _ in range(3))
    options = {"kernel_size": kernel_size, "dilation": dilation, "stride": stride}
    theirs = natten.na2d(q, k, v, backend="flex-fna", **options)
    torch.testing.assert_close(neighborhood_attention(q, k, v, backend=backend, **options), theirs)


@pytest.mark.parametrize("shift", [0, 3])
def test_swin(backend: str, shift: int) -> None:
    """timm's table is indexed by query minus key, one row per offset; ours by key minus query: both axes turn round."""
    block = SwinTransformerBlock(32, (14, 21), num_heads=2, window_size=7, shift_size=shift).double().eval()
    attention = block.attn
    torch.nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, 14, 21, 32, dtype=torch.float64)
    bias = attention.relative_position_bias_table.T.unflatten(1, (13, 13)).flip(1, 2)
    q, k, v = attention.qkv(x).unflatten(-1, (3, 2, 16)).unbind(-3)
    ours = window_attention(q, k, v, window=7, shift=(shift, shift), bias=bias, backend=backend)
    torch.testing.assert_close(attention.proj(ours.flatten(-2)), block._attn(x))


def test_maxvit_grid(backend: str) -> None:
    q, k, v = (torch.randn(2, 12, 20, 3, 8) for _ in range(3))

    def grid(x: torch.Tensor) -> torch.Tensor:
        return grid_partition(x.flatten(-2), (4, 5)).flatten(1, 2).unflatten(-1, (3, 8)).transpose(1, 2)

    tokens = scaled_dot_product_attention(grid(q), grid(k), grid(v)).transpose(1, 2).flatten(-2)
    theirs = grid_reverse(tokens.unflatten(1, (4, 5)), (4, 5), (12, 20)).unflatten(-1, (3, 8))
    ours = window_attention(q, k, v, window=(4, 5), dilation=(3, 4), backend=backend)
    torch.testing.assert_close(ours, theirs)
