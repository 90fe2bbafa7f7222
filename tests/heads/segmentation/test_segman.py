"""SegMAN's decoder on maps of any number and size, with any mixer; its recorded outputs are in tests/parity."""

from functools import partial

import pytest
import torch

from tests.heads.segmentation.test_heads import info, maps
from visionattn.attention import SelectiveScan, WindowAttention
from visionattn.backbones import Block
from visionattn.errors import ConfigError
from visionattn.heads.segmentation import SegMANDecoder, SegmentationHead

SMALL = partial(SegMANDecoder, block=Block, mixer=SelectiveScan, channels=16, width=8)


@pytest.mark.parametrize("size", [(64, 96), (50, 37)])
@pytest.mark.parametrize("dims", [(8, 12), (8, 12, 16), (8, 12, 16, 24)])
def test_logits_have_the_size_of_the_last_map_but_two_and_reach_every_parameter(dims, size):
    feature_info = info(*dims)
    head = SegmentationHead(feature_info, 5, decoder=SMALL, feature_norms="none")
    features = maps(feature_info, *size)
    logits, extra = head(features)
    assert extra is None
    assert logits.shape == (2, 5, *features[-3:][0].shape[-2:])
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_it_mixes_with_any_mixer():
    head = SMALL(info(8, 12, 16), 5, mixer=partial(WindowAttention, window_size=2)).eval()
    assert head(maps(info(8, 12, 16))).shape == (2, 5, 16, 24)


def test_images_of_a_batch_do_not_see_each_other():
    head = SMALL(info(8, 12, 16), 5).eval().double()
    features = [x.double() for x in maps(info(8, 12, 16), 44, 36)]
    together, alone = head(features), head([x[:1] for x in features])
    torch.testing.assert_close(together[:1], alone, rtol=1e-10, atol=1e-12)


def test_it_says_why_one_image_is_too_few():
    head = SMALL(info(8, 12, 16), 3)
    with pytest.raises(ConfigError, match=r"SegMAN's decoder pools to one cell.*data\.batch_size=2"):
        head(maps(info(8, 12, 16), batch=1))
