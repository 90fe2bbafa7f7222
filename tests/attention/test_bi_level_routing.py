"""``BiLevelRoutingAttention`` at its edges: maps of fewer tokens than regions, and more regions than there are."""

import pytest
import torch

from visionattn.attention import BiLevelRoutingAttention


def test_a_map_of_fewer_tokens_than_regions_is_enlarged_with_zeros():
    """Regions of one token each, most of them zeros, which are attended to as everywhere."""
    mixer = BiLevelRoutingAttention(8, 2, regions=4, topk=16, lepe=None)
    x = torch.randn(2, 3, 2, 8, requires_grad=True)
    out = mixer(x)
    whole = torch.zeros(2, 4, 4, 8)
    whole[:, :3, :2] = x
    q, k, v = mixer.qkv(whole).unflatten(-1, (3, 2, 4)).flatten(1, 2).permute(2, 0, 3, 1, 4)  # topk lists every region
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=8**-0.5)
    expected = mixer.proj(dense.transpose(1, 2).reshape(2, 4, 4, 8))[:, :3, :2]
    torch.testing.assert_close(out, expected)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(("topk", "regions"), [(0, 7), (50, 7), (1, 0)])
def test_more_regions_than_there_are_cannot_be_listed(topk, regions):
    with pytest.raises(ValueError, match=f"number of regions, got {topk} and {regions} x {regions} regions"):
        BiLevelRoutingAttention(8, 2, regions=regions, topk=topk)
