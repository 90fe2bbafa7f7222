"""Mixers made of mixers."""

from functools import partial

import pytest
import torch

from visionattn.attention import Alternate, NeighborhoodAttention, Parallel, Pooling, WindowAttention


def test_alternate_takes_turns_and_counts_each_mixer_by_itself():
    factory = Alternate([partial(WindowAttention, window_size=4), partial(NeighborhoodAttention, kernel_size=3)])
    mixers = [factory(dim=8, num_heads=2, index=index) for index in range(4)]
    assert [type(mixer) for mixer in mixers] == [WindowAttention, NeighborhoodAttention] * 2
    assert [mixers[0].shifted, mixers[2].shifted] == [False, True]


def test_parallel_gives_each_mixer_its_channels():
    mixer = Parallel({"a": Pooling, "b": partial(Pooling, pool_size=5)})(dim=8, num_heads=2)
    x = torch.randn(1, 6, 7, 8)
    expected = torch.cat([Pooling()(x[..., :4]), Pooling(pool_size=5)(x[..., 4:])], dim=-1)
    torch.testing.assert_close(mixer(x), expected)


def test_parallel_needs_even_shares():
    with pytest.raises(ValueError, match="cannot share 9 channels and 3 heads evenly among 2"):
        Parallel([Pooling, Pooling])(dim=9, num_heads=3)


@pytest.mark.parametrize("combinator", [Alternate, Parallel])
def test_a_combinator_needs_a_mixer(combinator):
    with pytest.raises(ValueError, match="at least one mixer"):
        combinator([])
