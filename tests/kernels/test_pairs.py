"""The count of real pairs, which FLOPs come from, against the runs of keys themselves."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from visionattn.kernels import window_attention
from visionattn.kernels.geometry import AxisRule


@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 13, 20])
def test_pairs_are_the_sum_of_the_runs(length):
    for size in (1, 2, 3, 7):
        for dilation in (1, 2, 3, 5):
            for shift in range(size):
                rule = AxisRule(size, dilation, shift=shift)
                assert rule.pairs(length) == int(rule.spans(length).extent.sum()), (size, dilation, shift)
            if size > 1 and size * dilation <= length:
                rule = AxisRule(size, dilation, stride=1)
                assert rule.pairs(length) == int(rule.spans(length).extent.sum())


def test_counting_needs_no_real_tensor():
    from torch.utils.flop_counter import FlopCounterMode

    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        q = torch.empty(1, 14, 14, 2, 16)
        window_attention(q, q, q, window=7, backend="tiled")
    assert counter.get_total_flops() == 2 * (16 + 16) * 2 * 14 * 14 * 49
