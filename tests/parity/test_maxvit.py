"""MaxViT against timm's port of the published models: counts, values, any size."""

import pytest
import timm
import torch

import visionattn
from tests.parity.timm_pairs import CLASSES, count, excite, largest_error, leak, meta, pair
from visionattn.backbones import zoo

NAMES = visionattn.list_backbones("maxvit_*")
SHALLOW = {"overrides": ["depths=[1,1,2,1]"], "depths": (1, 1, 2, 1)}
SINGLE = {"overrides": ["depths=[1,1,1,1]"], "depths": (1, 1, 1, 1)}
LIMIT = 1e-5


def timms(name: str) -> str:
    """``maxvit_tiny_384`` -> ``maxvit_tiny_tf_384``."""
    _, size, *pixels = name.split("_")
    return "_".join(["maxvit", size, "tf", *(pixels or ["224"])])


def test_all_published_models_are_here():
    sizes = ["tiny", "small", "base", "large", "xlarge"]
    assert sorted(NAMES) == sorted(f"maxvit_{size}{pixels}" for size in sizes for pixels in ("", "_384", "_512"))


@pytest.mark.parametrize("name", NAMES)
def test_count_is_timms(name):
    ours = count(meta(visionattn.create_backbone, name))
    assert ours == zoo.backbone_files()[name]["card"]["params"]
    assert ours == count(meta(timm.create_model, timms(name), num_classes=1000))


def test_count_of_the_model_with_21843_classes():
    assert count(meta(visionattn.create_backbone, "maxvit_xlarge", num_classes=21843)) == 506987643


def test_values_at_full_depth():
    ours, theirs = pair("maxvit_tiny", "maxvit_tiny_tf_224")
    for size in [(224, 224), (448, 224)]:
        assert largest_error(ours, theirs, size) < LIMIT


@pytest.mark.parametrize(("name", "size"), [("maxvit_tiny_384", 384), ("maxvit_small", 224), ("maxvit_large", 224)])
def test_values_of_other_sizes(name, size):
    ours, theirs = pair(name, timms(name), **SHALLOW)
    assert largest_error(ours, theirs, (size, size)) < LIMIT


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("maxvit_small", (448, 224)),
        ("maxvit_base", (224, 448)),
        ("maxvit_large", (448, 448)),
        ("maxvit_xlarge", (224, 224)),
    ]
    + [(f"maxvit_{size}_512", (512, 512)) for size in ("tiny", "small", "base", "large", "xlarge")],
)
def test_values_of_the_largest(name, size):
    ours, theirs = pair(name, timms(name), **(SINGLE if "xlarge" in name else SHALLOW))
    assert largest_error(ours, theirs, size) < LIMIT


def test_no_image_sees_another_at_sizes_that_nothing_divides():
    ours, _ = pair("maxvit_tiny", "maxvit_tiny_tf_224", **SINGLE)
    assert leak(ours, (75, 100)) < 1e-5
    with torch.no_grad():
        maps = ours.forward_intermediates(torch.randn(1, 3, 200, 333), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(50, 84), (25, 42), (13, 21), (7, 11)]


def test_odd_maps_mean_over_the_tokens_that_are_there():
    from visionattn.backbones.families.maxvit import MBConv

    layer = MBConv(4, 4).eval()
    torch.nn.init.zeros_(layer.project.weight)
    torch.nn.init.zeros_(layer.project.bias)
    with torch.no_grad():
        y = layer(torch.ones(1, 5, 7, 4))
    torch.testing.assert_close(y, torch.ones(1, 3, 4, 4))


def test_tables_of_another_window_are_resized():
    theirs = timm.create_model("maxvit_tiny_tf_224", num_classes=CLASSES, depths=SINGLE["depths"])
    ours = visionattn.create_backbone("maxvit_tiny_384", num_classes=CLASSES, overrides=SINGLE["overrides"])
    visionattn.load_weights(ours, theirs.state_dict())
    assert ours.stages[0].blocks[1].mixer.bias_table.shape == (2, 23, 23)


@pytest.mark.parametrize(("dim_in", "stride"), [(8, 1), (8, 2), (6, 2)])
def test_norms_folded_into_convolutions_outside_of_training(dim_in, stride):
    from visionattn.backbones.families.maxvit import MBConv

    layer, x, seen = excite(MBConv(dim_in, 8, stride=stride)).eval(), torch.randn(2, 9, 12, dim_in), []
    expected = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected.detach())
        layer.norm1.register_forward_hook(lambda *args: seen.append(args))
        layer(x)
    assert len(seen) == 1
