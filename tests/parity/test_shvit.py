"""SHViT against timm's: counts, values, official names, strides that begin at 16, any size."""

import pytest
import timm
import torch

import visionattn
from tests.parity.timm_pairs import count, leak, meta, pair, relative
from visionattn.attention import SingleHeadAttention
from visionattn.backbones import zoo

SIZES = ["s1", "s2", "s3", "s4"]


@pytest.mark.parametrize("size", SIZES)
def test_count_is_published_and_timms(size):
    ours = count(meta(visionattn.create_backbone, f"shvit_{size}"))
    assert ours == zoo.backbone_files()[f"shvit_{size}"]["card"]["params"]
    assert ours == count(meta(timm.create_model, f"shvit_{size}"))


@pytest.mark.parametrize("size", SIZES)
def test_the_part_that_attends_is_as_wide_as_published(size):
    ours, theirs = (meta(build, f"shvit_{size}") for build in (visionattn.create_backbone, timm.create_model))
    for mine, published in zip(ours.stages[1:], theirs.stages[1:], strict=True):
        assert mine.blocks[0].mixer.partial == published.blocks[0].mixer.m.pdim


@torch.no_grad()
def largest_error(ours, theirs, size):
    image = torch.randn(1, 3, *size, dtype=next(ours.parameters()).dtype)
    maps, expected = (model.forward_intermediates(image, intermediates_only=True) for model in (ours, theirs))
    assert [m.shape for m in maps] == [m.shape for m in expected]
    return max(map(relative, [ours(image), *maps], [theirs(image), *expected]))


def test_values():
    ours, theirs = pair("shvit_s1", "shvit_s1")
    for image in [(224, 224), (200, 333), (65, 97)]:
        assert largest_error(ours, theirs, image) < 1e-5
    assert leak(ours, (72, 100)) < 1e-5


@pytest.mark.heavy
def test_values_of_the_largest():
    """In float64: the round-off of float32 alone is 1e-5 in so deep a network."""
    ours, theirs = (model.double() for model in pair("shvit_s4", "shvit_s4"))
    for image in [(224, 224), (200, 333), (65, 97)]:
        assert largest_error(ours, theirs, image) < 1e-12


def official(name):
    """timm's name of a weight -> the official code's."""
    part, _, rest = name.partition(".")
    if part != "stages":
        return name
    stage, kind, place, rest = rest.split(".", 3)
    if kind == "downsample":
        return f"blocks{int(stage) + 1}.{['0.0', '0.1', '1', '2.0', '2.1'][int(place)]}.{rest}"
    return f"blocks{int(stage) + 1}.{int(place) + (3 if int(stage) else 0)}.{rest}"


def test_official_names_give_the_same_model():
    ours, theirs = pair("shvit_s1", "shvit_s1")
    state = {official(name): tensor for name, tensor in theirs.state_dict().items()}
    assert {"blocks1.0.conv.m.c.weight", "blocks2.0.1.m.pw1.bn.bias", "blocks3.3.mixer.m.qkv.c.weight"} <= set(state)
    other = visionattn.create_backbone("shvit_s1", num_classes=10, weights={"model": state})
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_maps_begin_at_a_stride_of_16():
    model = visionattn.create_backbone("shvit_s1", features_only=True).eval()
    assert model.feature_info.reduction() == [16, 32, 64]
    with torch.no_grad():
        assert [m.shape[-2:] for m in model(torch.randn(1, 3, 100, 130))] == [(7, 9), (4, 5), (2, 3)]


def test_residual_branches_start_as_nothing():
    model = visionattn.create_backbone("shvit_s1")
    x = torch.randn(2, 5, 6, 224)
    block = model.stages[1].blocks[0].eval()
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("arguments", [{"partial": 17}, {"partial": 0}, {"qk_dim": 0}])
def test_widths_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"partial is from 1 to dim 16 and qk_dim is positive, got partial \d+ and"):
        SingleHeadAttention(16, **arguments)
