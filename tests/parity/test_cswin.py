"""CSWin against the recorded outputs of the official code, and its strips against masks written out."""

import pytest
import torch
from torch.nn import functional as F

import visionattn
from tests.recorded import image_of, published_state, recorded, relative_error
from visionattn.attention import CrossShapedAttention
from visionattn.backbones import zoo
from visionattn.backbones.cost import count_parameters
from visionattn.errors import CheckpointError

PUBLISHED = recorded("cswin_tiny")
STATE = published_state(PUBLISHED)
PARAMETERS = {
    "cswin_tiny": 22_320_552,
    "cswin_small": 34_643_304,
    "cswin_base": 77_382_184,
    "cswin_base_384": 77_382_184,
    "cswin_large": 173_262_664,
    "cswin_large_384": 173_262_664,
}
SHALLOW = ("depths=[1,1,2,1]",)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    with torch.device("meta"):
        model = visionattn.create_backbone(name)
    assert count_parameters(model) == PARAMETERS[name] == zoo.backbone_files()[name]["card"]["params"]


def test_every_published_size_is_here():
    assert set(visionattn.list_backbones("cswin*")) == set(PARAMETERS)


def test_the_outputs_of_the_official_code():
    model = visionattn.create_backbone("cswin_tiny", weights=STATE).eval()
    assert count_parameters(model) == PUBLISHED["params"]
    with torch.no_grad():
        for case in PUBLISHED["cases"]:
            assert relative_error(model(image_of(case)), case) < 1e-5


def test_the_features_of_the_official_dense_code_where_strips_do_not_divide_the_map():
    published = recorded("cswin_dense")
    state = published_state(published)
    model = visionattn.create_backbone("cswin_tiny", num_classes=0, weights=state, overrides=SHALLOW).eval()
    assert count_parameters(model) == published["params"]
    with torch.no_grad():
        for case in published["cases"]:
            assert relative_error(model(image_of(case)), case) < 1e-5, case["size"]


def test_strips_that_change_places_are_noticed():
    state = dict(STATE)
    for name in [name for name in state if ".attns.1." in name]:
        first = name.replace(".attns.1.", ".attns.0.")
        state[name], state[first] = state[first], state[name]
    model = visionattn.create_backbone("cswin_tiny", weights=state).eval()
    case = PUBLISHED["cases"][0]
    with torch.no_grad():
        assert relative_error(model(image_of(case)), case) > 1e-2


def shallow_state(removed=()):
    """The published state dict of two blocks in the third stage, one in the others."""
    deep = [f"stage2.{i}." for i in range(1, 2)] + [f"stage3.{i}." for i in range(2, 21)] + list(removed)
    return {name: tensor for name, tensor in STATE.items() if not name.startswith(tuple(deep))}


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model"])
def test_wrapped_checkpoints_give_the_same_model(wrapper):
    image = torch.randn(1, 3, 64, 64)
    outputs = []
    for weights in (shallow_state(), {wrapper: {f"module.{k}": v for k, v in shallow_state().items()}}):
        model = visionattn.create_backbone("cswin_tiny", weights=weights, overrides=SHALLOW).eval()
        outputs.append(model(image))
    assert torch.equal(*outputs)


def test_names_that_do_not_fit_are_listed():
    state = shallow_state(removed=["stage2.0.attns.1.get_v.bias"]) | {"stage1.0.rpe": torch.zeros(1)}
    with pytest.raises(CheckpointError) as raised:
        visionattn.create_backbone("cswin_tiny", weights=state, overrides=SHALLOW)
    assert "missing: stages.1.blocks.0.mixer.horizontal.bias" in raised.value.details
    assert "not in the model: stage1.0.rpe" in raised.value.details


def expected(mixer, x, branch, mask_padding):
    """One direction, token by token: which tokens share a strip is a comparison of numbers; LePE likewise."""
    b, h, w, c = x.shape
    heads, strip, half = mixer.num_heads // 2, mixer.strip_size, slice(branch * c // 2, (branch + 1) * c // 2)
    size = (w, h)[branch]
    missing = -size % strip
    before = missing // 2
    padding = (before, missing - before, 0, 0) if branch == 0 else (0, 0, before, missing - before)
    maps = [F.pad(part[..., half].permute(0, 3, 1, 2), padding) for part in mixer.qkv(x).chunk(3, dim=-1)]
    height, width = maps[0].shape[2:]
    rows, columns = (
        grid.flatten() for grid in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    place = (columns, rows)[branch]
    real = (place >= before) & (place < before + size)
    together = (place[:, None] // strip == place[None] // strip) & (real[None] | torch.tensor(not mask_padding))
    q, k, v = (part.reshape(b, heads, -1, height * width).transpose(2, 3) for part in maps)
    logits = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).masked_fill(~together, float("-inf"))
    out = (logits.softmax(-1) @ v)[:, :, real].transpose(1, 2).reshape(b, -1, c // 2)
    conv = (mixer.vertical, mixer.horizontal)[branch]
    near = (rows[:, None] - rows[None]).abs().le(1) & (columns[:, None] - columns[None]).abs().le(1)
    same = place[:, None] // strip == place[None] // strip
    dy, dx = rows[None] - rows[:, None] + 1, columns[None] - columns[:, None] + 1
    kernel = conv.weight[:, 0][:, dy.clamp(0, 2), dx.clamp(0, 2)] * (near & same)
    lepe = torch.einsum("cqk,bck->bqc", kernel, maps[2].flatten(2))[:, real] + conv.bias
    return (out + lepe).reshape(b, h, w, c // 2)


@pytest.mark.parametrize("mask_padding", [False, True])
@pytest.mark.parametrize(("strip", "size"), [(1, (4, 5)), (2, (4, 6)), (2, (5, 7)), (7, (9, 4)), (3, (3, 3))])
def test_strips_equal_masked_attention_and_masked_convolution(strip, size, mask_padding):
    mixer = CrossShapedAttention(8, 4, strip_size=strip, mask_padding=mask_padding).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    want = mixer.proj(torch.cat([expected(mixer, x, branch, mask_padding) for branch in (0, 1)], dim=-1))
    torch.testing.assert_close(mixer(x), want, rtol=1e-10, atol=1e-10)


def test_an_odd_number_of_heads_is_refused():
    with pytest.raises(ValueError, match="must be even, got 3"):
        CrossShapedAttention(12, 3)


def test_a_strip_has_a_width():
    with pytest.raises(ValueError, match="must be positive, got 0"):
        CrossShapedAttention(12, 2, strip_size=0)


@pytest.mark.parametrize("name", ["cswin_tiny", "cswin_large_384"])
@pytest.mark.parametrize("size", [(200, 333), (256, 320)])
def test_four_levels_at_any_size(name, size):
    model = visionattn.create_backbone(name, features_only=True, overrides=("depths=[1,1,1,1]",)).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, *size))
    for feature, channels, stride in zip(maps, model.feature_info.channels(), (4, 8, 16, 32), strict=True):
        assert feature.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.isfinite(feature).all()
