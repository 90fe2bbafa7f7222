"""SegMAN against the recorded outputs of the official code, and its mixer of the last stage written out."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

import visionattn
from tests.parity.recordings import check_outputs, check_parameters
from tests.parity.timm_pairs import count
from tests.recorded import inputs_of, published_state, recorded, relative_error
from visionattn.attention import NeighborhoodFull, SelectiveScan
from visionattn.backbones import Block, ConvPosition, ResidualConvFeedForward, layer_norm
from visionattn.heads.segmentation import SegMANDecoder
from visionattn.weights.formats import convert
from visionattn.weights.whole_models import as_backbone_and_head

PARAMETERS = {
    "segman_tiny": 3_506_014,
    "segman_small": 25_507_582,
    "segman_base": 45_020_682,
    "segman_large": 80_985_272,
}
DECODERS = {
    "tiny": ((32, 64, 144, 192), 128, 192, 4_115_926),
    "small": ((64, 144, 288, 512), 144, 288, 5_469_414),
    "base": ((96, 160, 364, 560), 180, 320, 8_383_650),
    "large": ((96, 192, 432, 640), 224, 432, 13_033_894),
}
BLOCK = partial(Block, position=ConvPosition, norm=partial(layer_norm, eps=1e-6), ffn=ResidualConvFeedForward)


def decoder(name):
    dims, channels, width, _ = DECODERS[name]
    info = [{"num_chs": dim, "reduction": 4 * 2**i} for i, dim in enumerate(dims)]
    return SegMANDecoder(info, 150, block=BLOCK, mixer=SelectiveScan, channels=channels, width=width)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    check_parameters(name, PARAMETERS[name])


def test_the_outputs_of_the_official_code():
    check_outputs("segman_tiny", "segman_encoder_tiny")


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_have_the_published_number_of_parameters(name):
    with torch.device("meta"):
        assert count(decoder(name)) == DECODERS[name][-1]


def test_the_outputs_of_the_official_decoder():
    published = recorded("parts/segman_decoder_tiny")
    state = as_backbone_and_head({f"decode_head.{name}": x for name, x in published_state(published).items()})
    head = decoder("tiny").eval()
    head.load_state_dict({name.removeprefix("head.decoder."): x for name, x in state.items()})
    for case in published["cases"]:
        with torch.no_grad():
            assert relative_error(head(inputs_of(case)), case) < 1e-5


def test_weights_of_the_larger_encoders_have_a_place():
    with torch.device("meta"):
        model = visionattn.create_backbone("segman_base", num_classes=0)
    block = model.stages[0].blocks[0]
    theirs = {"weight": torch.full((96, 1, 1, 1), 3.0), "bias": torch.ones(96)}
    names = {"layers.0.blocks.0.token_mixer.qkv.weight": torch.zeros(288, 96, 1, 1)}
    names |= {f"layers.0.blocks.0.layer_scale1.{name}": x for name, x in theirs.items()}
    found = convert(names, model.state_dict()).state
    own = {name: found[f"stages.0.blocks.0.scale1.{name}"] for name in ("gamma", "bias")}
    block.scale1.load_state_dict(own, assign=True)
    torch.testing.assert_close(block.scale1(torch.full((1, 1, 1, 96), 2.0)), torch.full((1, 1, 1, 96), 7.0))
    assert model.stages[3].blocks[0].ffn.fc1.out_features == 3 * 560


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
