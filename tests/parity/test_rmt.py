"""RMT against the recorded outputs of the official code, and its attention against one written out."""

import pytest
import torch

import visionattn
from tests.parity.recordings import check_outputs, check_parameters
from visionattn.attention import ManhattanAttention

PARAMETERS = {"rmt_tiny": 14_334_216, "rmt_small": 26_967_240, "rmt_base": 54_154_896, "rmt_large": 95_464_864}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


def test_the_outputs_of_the_official_code():
    check_outputs("rmt_tiny")


def test_stages_have_the_published_widths_and_scales():
    with torch.device("meta"):
        model = visionattn.create_backbone("rmt_base", num_classes=3)
    blocks = [stage.blocks[0] for stage in model.stages]
    assert [block.ffn.fc1.out_features for block in blocks] == [320, 640, 960, 1536]
    assert [hasattr(block.scale1, "gamma") for block in blocks] == [False, False, True, True]
    assert [block.mixer.decomposed for block in blocks] == [True, True, True, False]
    assert [block.mixer.decay_range for block in blocks] == [5, 5, 6, 6]


def dense(mixer, x):
    """The equations of the paper on matrices over all pairs of tokens, in the order of the code."""
    height, width = x.shape[1:3]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([rows, columns], -1).flatten(0, 1)
    apart = (place[:, None] - place[None]).abs()
    decay = torch.log(1 - 2 ** (-2 - 6 * torch.arange(mixer.num_heads) / mixer.num_heads)).to(x.dtype)
    qkv = mixer.qkv(x).unflatten(-1, (3, mixer.num_heads, -1))
    q, k = mixer.rotary.turn(qkv[:, :, :, :2], None).flatten(1, 2).permute(2, 0, 3, 1, 4)
    v = qkv[:, :, :, 2].flatten(1, 2).transpose(1, 2)
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if mixer.decomposed:
        for along, across in ((1, 0), (0, 1)):
            logits = scores + decay[:, None, None] * apart[..., along]
            v = logits.masked_fill(apart[..., across] > 0, float("-inf")).softmax(-1) @ v
    else:
        v = (scores + decay[:, None, None] * apart.sum(-1)).softmax(-1) @ v
    return mixer.proj((v.transpose(1, 2).unflatten(1, (height, width)) + mixer.position(qkv[:, :, :, 2])).flatten(3))


@pytest.mark.parametrize("decomposed", [False, True])
def test_attention_decays_with_the_distance(decomposed):
    mixer = ManhattanAttention(16, 4, decomposed=decomposed).double()
    x = torch.randn(2, 4, 6, 16, dtype=torch.float64)
    torch.testing.assert_close(mixer(x), dense(mixer, x), rtol=0, atol=1e-6)  # decays are float32


def test_heads_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="dim 16 is not a multiple of num_heads 3"):
        ManhattanAttention(16, 3)
    with pytest.raises(ValueError, match="head widths that are multiples of 2, got 5"):
        ManhattanAttention(15, 3)
    with pytest.raises(ValueError, match=r"got first_decay 2.0 and decay_range -2.0"):
        ManhattanAttention(16, 2, decay_range=-2.0)
