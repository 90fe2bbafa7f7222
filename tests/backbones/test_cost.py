"""Counting parameters and multiply-adds, against hand-made numbers."""

import pytest
import torch
from torch import nn

import visionattn
from visionattn.backbones.cost import count_gmacs, count_parameters


def test_a_convolution_and_a_linear_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    assert count_parameters(model) == 3 * 8 * 9 + 8 + 8 * 10 + 10
    assert count_gmacs(model, (3, 16, 16)) == pytest.approx((16 * 16 * 3 * 8 * 9 + 80) / 1e9)


def test_attention_counts_the_keys_that_are_seen():
    """Neighborhood attention of kernel 3 on 8 x 8 tokens: 2 * 64 * 9 * C multiply-adds more than the layers around
    it.
    """
    from visionattn.attention import NeighborhoodAttention

    mixer = NeighborhoodAttention(16, 2, kernel_size=3)

    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixer = mixer

        def forward(self, x):
            return self.mixer(x.permute(0, 2, 3, 1))

    expected = 64 * (16 * 48 + 16 * 16) + 2 * 64 * 9 * 16
    assert count_gmacs(Images(), (16, 8, 8)) == pytest.approx(expected / 1e9)


def test_counting_leaves_the_model_as_it_was():
    model = visionattn.create_backbone("swin_pico").train()
    count_gmacs(model, (3, 32, 32))
    assert model.training
    assert all(param.grad is None for param in model.parameters())
    assert isinstance(next(model.parameters()), torch.Tensor)
