"""DaViT against timm's: counts, values, names of the official code, any size."""

import pytest
import timm
import torch

import visionattn
from tests.parity.timm_pairs import CLASSES, count, largest_error, leak, meta, pair
from visionattn.backbones import zoo

SIZES = ["tiny", "small", "base", "large", "huge", "giant"]
SHALLOW = {"overrides": ["depths=[1,1,2,1]"], "depths": (1, 1, 2, 1)}
SINGLE = {"overrides": ["depths=[1,1,1,1]"], "depths": (1, 1, 1, 1)}
LIMIT = 1e-5
EXACT = 1e-10  # in float64


@pytest.mark.parametrize("size", SIZES)
def test_count_is_published_and_timms(size):
    ours = count(meta(visionattn.create_backbone, f"davit_{size}"))
    assert ours == zoo.backbone_files()[f"davit_{size}"]["card"]["params"]
    assert ours == count(meta(timm.create_model, f"davit_{size}"))


def test_values_at_full_depth():
    ours, theirs = pair("davit_tiny", "davit_tiny")
    for size in [(224, 224), (200, 333), (64, 96)]:
        assert largest_error(ours, theirs, size) < LIMIT


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ("small", 7),
        pytest.param("base", 7, marks=pytest.mark.heavy),
        pytest.param("large", 12, marks=pytest.mark.heavy),
    ],
)
def test_values_of_the_other_sizes(size, window):
    ours, theirs = pair(f"davit_{size}", f"davit_{size}", window_size=window, **SHALLOW)
    for image in [(224, 224), (97, 130)]:
        assert largest_error(ours.double(), theirs.double(), image) < EXACT


@pytest.mark.heavy
@pytest.mark.parametrize("size", ["huge", "giant"])
def test_values_of_the_largest(size):
    ours, theirs = pair(f"davit_{size}", f"davit_{size}", **SINGLE)
    for image in [(224, 224), (97, 130)]:
        assert largest_error(ours, theirs, image) < LIMIT


def official(name: str) -> str:
    """timm's name of a weight -> the official code's."""
    for new, old in [
        ("stem.conv.", "patch_embeds.0.proj."),
        ("stem.norm.", "patch_embeds.0.norm."),
        ("head.fc.", "head."),
        ("head.norm.", "norms."),
        (".cpe1.", ".cpe.0."),
        (".cpe2.", ".cpe.1."),
    ]:
        name = name.replace(new, old)
    if name.startswith("stages."):
        _, stage, part, rest = name.split(".", 3)
        inner = rest.replace("conv.", "proj.", 1) if part == "downsample" else rest
        name = f"patch_embeds.{stage}.{inner}" if part == "downsample" else f"main_blocks.{stage}.{rest}"
    return name


def test_official_names_give_the_same_model():
    ours, theirs = pair("davit_tiny", "davit_tiny", **SINGLE)
    state = {official(name): tensor for name, tensor in theirs.state_dict().items()}
    assert "main_blocks.2.0.1.cpe.1.proj.weight" in state
    assert "patch_embeds.3.proj.bias" in state
    other = visionattn.create_backbone(
        "davit_tiny", num_classes=CLASSES, overrides=SINGLE["overrides"], weights={"state_dict": state}
    )
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_no_image_sees_another():
    ours, _ = pair("davit_tiny", "davit_tiny", **SINGLE)
    assert leak(ours, (72, 100)) < 1e-5
