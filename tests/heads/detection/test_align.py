"""Pooling of regions: torchvision's values bit by bit, and its gradient."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from visionattn.heads.detection.align import RegionAlign

SIZES = [(64, 80), (60, 71)]


def maps(num_maps, dtype=torch.float32):
    torch.manual_seed(0)
    return {str(i): torch.randn(2, 5, 16 // 2**i, 20 // 2**i).to(dtype).requires_grad_() for i in range(num_maps)}


def boxes():
    """Of every size, some over the edge of their picture, some of no size at all."""
    torch.manual_seed(1)
    corner, extent = torch.rand(40, 2) * torch.tensor([80.0, 64.0]), torch.rand(40, 2).square() * 400
    found = torch.cat([corner, corner + extent], 1)
    found[:3] = torch.tensor([[-30.0, -20, 10, 10], [70, 60, 200, 190], [5, 5, 5, 5]])
    return [found[:25], found[25:]]


@pytest.mark.parametrize("num_maps", [1, 3])
@pytest.mark.parametrize("size", [7, 14])
def test_values_bit_by_bit_and_the_gradient(num_maps, size):
    x = maps(num_maps)
    ours = RegionAlign(num_maps, size)(x, boxes(), SIZES)
    theirs = MultiScaleRoIAlign(list(x), size, 2)(x, boxes(), SIZES)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    found = torch.autograd.grad((ours * weights).sum(), list(x.values()))
    wanted = torch.autograd.grad((theirs * weights).sum(), list(x.values()))
    for one, other in zip(found, wanted, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


def test_without_any_region():
    x = maps(2)
    pooled = RegionAlign(2, 7)(x, [torch.zeros(0, 4)] * 2, SIZES)
    assert pooled.shape == (0, 5, 7, 7)
    gradients = torch.autograd.grad(pooled.sum(), list(x.values()))
    assert not any(gradient.any() for gradient in gradients)


def test_half_precision_maps_get_half_precision_gradients():
    x = maps(2, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = RegionAlign(2, 7)(x, boxes(), SIZES)
    assert pooled.dtype == torch.bfloat16
    pooled.float().square().mean().backward()
    assert all(m.grad.dtype == torch.bfloat16 and torch.isfinite(m.grad).all() for m in x.values())
