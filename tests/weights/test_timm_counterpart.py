"""Our weights in timm's own models: the converters backwards, for every family that timm has."""

from contextlib import nullcontext
from functools import cache

import pytest
import timm
import torch
from omegaconf import OmegaConf

import visionattn
from tests.contracts.structures import REPRESENTATIVES
from tests.parity.timm_pairs import excite, relative
from visionattn.backbones import zoo
from visionattn.errors import CheckpointError, ConfigError
from visionattn.weights.timm_counterpart import all_twins, obstacles, put_into

WINDOWS = [f"mixers.s{i + 1}.mixers.{k}.window_size={w}" for i, w in enumerate((3, 3, 6, 3)) for k in ("own", "shared")]
CASES = {
    "swin_pico": ([], (32, 32)),
    "swin_tiny": (["depths=[1,1,2,1]", "dims=[24,48,96,192]", "mixers.s2.window_size=14"], (224, 224)),
    "swinv2_tiny_window8_256": (["depths=[1,1,2,1]", "dims=[24,48,96,192]", "num_heads=[1,2,4,8]"], (128, 256)),
    "davit_tiny": (["depths=[1,1,1,1]", "dims=[24,48,96,192]", "mixers.s1.mixers.spatial.window_size=7"], (64, 96)),
    "gcvit_xxtiny": (WINDOWS, (96, 96)),
    "maxvit_tiny": (["depths=[1,1,2,1]", "dims=[16,32,64,128]", "num_heads=[1,2,4,8]", "stem.width=24"], (224, 224)),
}


def plain(name, overrides=()):
    return OmegaConf.to_container(zoo.compose_backbone(name, overrides), resolve=True)


as_published = cache(plain)


def twins_of(config):
    return [twin for twin in all_twins() if not obstacles(twin, config, as_published(twin.like))]


@pytest.mark.parametrize("name", CASES)
def test_timm_computes_the_same_from_our_weights(name):
    overrides, size = CASES[name]
    ours = excite(visionattn.create_backbone(name, num_classes=7, overrides=overrides)).eval()
    config = plain(name, overrides)
    (twin,) = twins_of(config)
    theirs = timm.create_model(twin.architecture, num_classes=7, **twin.arguments(config, size)).eval()
    put_into(theirs, ours.state_dict())
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        last, maps = ours.forward_intermediates(images)
        their_last, their_maps = theirs.forward_intermediates(images)
        if last.shape != their_last.shape:
            their_last = their_last.permute(0, 3, 1, 2)
        pairs = [
            (ours(images), theirs(images)),
            (last, their_last),
            *zip(maps[:-1], their_maps[-len(maps) : -1], strict=True),
        ]
    assert max(relative(other, mine) for mine, other in pairs) < 1e-5
    smaller = name == "swin_pico"  # there timm's last window is smaller than ours, and so is its table
    with pytest.warns(UserWarning, match="position tables were resized") if smaller else nullcontext():
        back = visionattn.create_backbone(name, num_classes=7, overrides=overrides, weights=theirs.state_dict())
    if not smaller:
        assert all(torch.equal(back.state_dict()[key], value) for key, value in ours.state_dict().items())


def test_which_backbones_timm_has():
    """The smallest and the largest of each family that timm has, and families that it has not."""
    cards = {name: zoo.backbone_files()[name]["card"] for name in visionattn.list_backbones()}
    published: dict[str, list[str]] = {}
    for name in sorted(
        (n for n in cards if (cards[n].get("weights") or {}).get("timm")), key=lambda n: cards[n]["params"]
    ):
        published.setdefault(name.partition("_")[0], []).append(name)
    ends = {name for names in published.values() for name in (names[0], names[-1])}
    without = {name for name in REPRESENTATIVES if name.startswith(("nat", "dinat", "cswin", "fastervit", "s2aformer"))}
    found = {name for name in ends | without | {"swin_pico"} if twins_of(plain(name))}
    assert ends | {"swin_pico"} <= found | {"gcvit_small2", "gcvit_tiny2", "gcvit_large"}
    assert len(published) > 4
    assert without
    assert not without & found


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("swin_pico", ["mixer@mixers.s2=pooling"], "mixers.s2._target_=visionattn.attention.Pooling"),
        ("swin_pico", ["block.layer_scale=1e-5"], "block.layer_scale=1e-05 (timm's: None)"),
        ("swin_pico", ["mixers.s1.mask_padding=true"], "mixers.s1.mask_padding=True (timm's: False)"),
        ("gcvit_xxtiny", ["depths=[1,1,1,1]"], "depths=[1, 1, 1, 1]"),
        ("davit_tiny", ["downsample@stage.downsample=conv"], "stage.downsample._target_"),
    ],
)
def test_what_timm_cannot_express_is_named(name, overrides, expected):
    config = plain(name, overrides)
    nearest = min((obstacles(twin, config, plain(twin.like)) for twin in all_twins()), key=len)
    assert expected in " ".join(nearest)


def test_the_backend_of_a_kernel_is_no_difference():
    assert twins_of(plain("swin_pico", ["mixers.s1.backend=reference"]))


@pytest.mark.parametrize(
    ("name", "overrides", "size", "message"),
    [
        ("swin_pico", ["dims=[48,96,96]"], (32, 32), r"doubles its width.*\[48, 96, 96\]"),
        ("davit_tiny", ["mixers.s1.mixers.spatial.window_size=5"], (64, 64), r"one window_size for all stages.*\[5, 7"),
        ("gcvit_xxtiny", [], (256, 256), r"would need images of \[224, 224\]"),
        ("maxvit_tiny", ["num_heads=[1,4,8,16]"], (224, 224), "heads of one width"),
        ("maxvit_tiny", ["block.mlp_ratio=2.0"], (224, 224), "block.mlp_ratio=2.0"),
    ],
)
def test_numbers_timm_cannot_express(name, overrides, size, message):
    config = plain(name, overrides)
    found = twins_of(config)
    if not found:
        assert message in " ".join(min((obstacles(t, config, plain(t.like)) for t in all_twins()), key=len))
        return
    with pytest.raises(ConfigError, match=message):
        found[0].arguments(config, size)


def test_weights_without_a_place_are_listed():
    ours = visionattn.create_backbone("swin_pico", num_classes=7)
    (twin,) = twins_of(plain("swin_pico"))
    theirs = timm.create_model(twin.architecture, num_classes=8, **twin.arguments(plain("swin_pico"), (32, 32)))
    with pytest.raises(
        CheckpointError, match=r"head\.fc\.weight \(7, 192\) does not fit timm's head\.fc\.weight \(8, 192\)"
    ):
        put_into(theirs, ours.state_dict())
    with pytest.raises(CheckpointError, match="extra has no counterpart"):
        put_into(theirs, ours.state_dict() | {"extra": torch.zeros(1)})
