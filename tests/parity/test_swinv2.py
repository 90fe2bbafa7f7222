"""Swin V2 against timm's and the recorded outputs of the official code: counts, values, names, windows, borders."""

import pytest
import timm
import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import nn
from torch.nn import functional as F

import visionattn
from tests.parity.timm_pairs import count, excite, largest_error, leak, meta, pair, relative
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.attention import CosineWindowAttention
from visionattn.attention.cosine_window import direction
from visionattn.backbones import zoo
from visionattn.weights.families import swinv2
from visionattn.weights.formats import converted

NAMES = visionattn.list_backbones("swinv2_*")
SMALL = {"depths": [1, 2, 1, 1], "num_heads": [1, 2, 4, 8]}
OURS = [*(f"{key}={value}" for key, value in SMALL.items()), "dims=[24,48,96,192]"]


def card(name):
    return zoo.backbone_files()[name]["card"]


def test_all_published_sizes_are_here():
    assert sorted(name for name in timm.list_models("swinv2_*") if "cr_" not in name) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_count_is_published_and_timms(name):
    ours = count(meta(visionattn.create_backbone, name))
    assert ours == card(name)["params"] == count(meta(timm.create_model, name, num_classes=1000))


def test_the_outputs_of_the_official_code():
    published = recorded("swinv2_tiny_window8_256")
    state = published_state(published)
    model = visionattn.create_backbone("swinv2_tiny_window8_256", weights=state).eval()
    assert count(model) == published["params"]
    with torch.no_grad():
        for case in published["cases"]:
            assert relative_error(model(image_of(case)), case) < 1e-5, case["size"]
    own = model.state_dict()
    (official, other) = (entry.recognizes(state) for entry in swinv2.FORMATS)
    assert (official, other) == (True, False)
    assert set(converted(swinv2.FORMATS[0], state, own).state) == set(own)


@pytest.mark.parametrize("name", [name for name in NAMES if "tiny" in name or ("window12" in name and "base" in name)])
def test_values_of_a_small_model(name):
    """The windows of every published model, on images of its size and on one twice as wide."""
    side = card(name).get("input_size", [3, 256, 256])[1]
    for size in [(side, side), (side, 2 * side)] if side == 256 and "tiny_window8" in name else [(side, side)]:
        ours, theirs = pair(name, name, OURS, **SMALL, embed_dim=24, img_size=size)
        assert largest_error(ours, theirs, size) < 1e-5


@pytest.mark.heavy
@pytest.mark.parametrize("wider", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_values_at_full_depth(name, wider):
    side = card(name).get("input_size", [3, 256, 256])[1]
    ours, theirs = pair(name, name, img_size=(side, wider * side))
    assert largest_error(ours, theirs, (side, wider * side)) < 2e-5


def test_images_of_any_size_do_not_leak_into_each_other():
    model = excite(visionattn.create_backbone("swinv2_tiny_window8_256", overrides=OURS)).eval()
    assert leak(model, (72, 101)) < 1e-5


def mixer_pair(size, window, shifted, trained=0):
    """Our mixer and timm's block built for a map of ``size``, with the same weights, in float64."""
    shift = window // 2 if shifted else 0
    block = SwinTransformerV2Block(
        32,
        size,
        num_heads=4,
        window_size=window,
        shift_size=shift,
        dynamic_mask=True,
        pretrained_window_size=trained,
    )
    excite(block.double())
    ours = CosineWindowAttention(32, 4, int(shifted), window_size=window, trained_window=trained or None).double()
    state = {f"layers.0.blocks.0.attn.{name}": tensor for name, tensor in block.attn.state_dict().items()}
    place = "stages.0.blocks.0.mixer."
    named = converted(swinv2.FORMATS[1], state, {f"{place}{name}": own for name, own in ours.state_dict().items()})
    ours.load_state_dict({name.removeprefix(place): value for name, value in named.state.items()})
    return ours, block


@pytest.mark.parametrize("trained", [0, 5])
@pytest.mark.parametrize(
    ("size", "shifted"), [((16, 24), True), ((4, 24), True), ((5, 3), False), ((13, 18), False), ((2, 9), False)]
)
def test_the_mixer_is_timms(size, shifted, trained):
    ours, block = mixer_pair(size, 8, shifted, trained)
    x = torch.randn(2, *size, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x), block._attn(x), rtol=1e-9, atol=1e-11)


def reach(mixer, size):
    """Which tokens the last three rows and columns of a map see."""
    x = torch.randn(1, *size, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(x)[:, -3:, -3:].square().sum(), x)
    return gradient[0].abs().sum(-1)


def test_opposite_borders_meet_in_timms_shifted_windows_and_not_in_ours():
    """timm's issue 2438: it rolls the map before it enlarges it, so that its mask misses the seam."""
    size, window = (18, 18), 8
    ours, block = mixer_pair(size, window, True)
    seen, theirs = reach(ours, size), reach(block._attn, size)
    assert seen[-3:, -3:].min() > 0
    assert seen[:12].max() == seen[:, :12].max() == 0
    assert min(theirs[:2, -3:].max(), theirs[-3:, :2].max(), theirs[:2, :2].max()) > 0  # rows and columns 16 away
    enlarged, (_, wider) = (24, 24), mixer_pair((24, 24), window, True)
    wider.attn.load_state_dict(block.attn.state_dict())
    x = torch.randn(1, *size, 32, dtype=torch.float64)
    whole = F.pad(x, (0, 0, 0, enlarged[1] - size[1], 0, enlarged[0] - size[0]))
    torch.testing.assert_close(ours(x), wider._attn(whole)[:, :18, :18], rtol=1e-9, atol=1e-11)


def test_a_factor_stops_at_100():
    ours, block = mixer_pair((8, 8), 8, False)
    with torch.no_grad():
        ours.logit_scale.fill_(9.0)
        block.attn.logit_scale.fill_(9.0)
    x = torch.randn(1, 8, 8, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x), block._attn(x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_direction_of_padding_is_nothing_and_its_gradient_finite(dtype):
    x = torch.randn(1, 1, 2, 3, 4, dtype=dtype)
    x[:, :, 1] = 0
    y = direction(x.requires_grad_())
    assert y.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(y[:, :, 0], F.normalize(x[:, :, 0], dim=-1), rtol=tolerance, atol=tolerance)
    assert not y[:, :, 1].any()
    (gradient,) = torch.autograd.grad(y.sum() * 1000, x)
    assert gradient.isfinite().all()


def test_branches_start_from_nothing_and_their_networks_do_not_decay():
    model = visionattn.create_backbone("swinv2_tiny_window8_256", overrides=OURS)
    x = torch.randn(1, 5, 6, 24)
    torch.testing.assert_close(model.stages[0].blocks[0].eval()(x), x)
    kept = {name.split("mixer.")[1] for name in model.no_weight_decay()}
    assert kept == {"logit_scale", "bias.network.0.weight", "bias.network.2.weight"}


def test_timm_weights_give_the_same_model_with_another_window():
    """Nothing is resized: distances are shares of the window that the weights were trained with."""
    name = "swinv2_tiny_window8_256"
    ours, theirs = pair(name, name, OURS, **SMALL, embed_dim=24)
    name = "swinv2_base_window12to16_192to256"
    wider = visionattn.create_backbone(name, num_classes=10, overrides=OURS, weights=theirs.state_dict()).eval()
    attention = wider.stages[0].blocks[0].mixer
    wide, narrow = attention.bias((16, 16), attention.trained_window), attention.bias((12, 12))
    assert (attention.trained_window, wide.shape) == ((12, 12), (1, 31, 31))
    torch.testing.assert_close(wide[:, 4:-4, 4:-4], narrow)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative(wider(image), ours(image)) > 1e-4


@pytest.mark.parametrize("arguments", [{"window_size": 0}, {"trained_window": [8, 0]}])
def test_windows_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match="window_size and trained_window must be positive, got"):
        CosineWindowAttention(32, 4, **arguments)
    assert isinstance(CosineWindowAttention(32, 4, qkv_bias=False).qkv, nn.Linear)
