"""The operators on the meta device, where shapes are all there is: counting a large model costs nothing."""

import torch

from visionattn.kernels import neighborhood_attention, window_attention


def test_shapes_on_the_meta_device():
    q, v = torch.empty(2, 14, 10, 3, 16, device="meta"), torch.empty(2, 14, 10, 3, 24, device="meta")
    assert window_attention(q, q, v, window=(7, 5)).shape == v.shape
    assert neighborhood_attention(q, q, v, kernel_size=7).shape == v.shape
