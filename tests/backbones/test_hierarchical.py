"""The backbone class, its parts, and what it refuses."""

from functools import partial

import pytest
import torch
from timm.models._manipulate import group_with_matcher

import visionattn
from visionattn.attention import Pooling
from visionattn.backbones import Block, ConvStem, HierarchicalBackbone, PatchMerging, PatchStem, Stage
from visionattn.errors import ConfigError

ROWS = {"dims": [8, 16], "depths": [1, 2], "num_heads": [1, 2]}
MIXERS = {"s1": Pooling, "s2": Pooling}


def test_patch_merging_takes_the_four_neighbors_in_the_published_order():
    layer = PatchMerging(1, 4)
    layer.norm = torch.nn.Identity()
    layer.reduction.weight.data = torch.eye(4)
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 2, 2, 1)
    assert layer(x).flatten().tolist() == [0.0, 2.0, 1.0, 3.0]


@pytest.mark.parametrize("stem", [PatchStem, ConvStem, partial(PatchStem, patch_size=2), partial(ConvStem, stride=2)])
def test_stems_round_the_map_up(stem):
    layer = stem(3, 8)
    y = layer(torch.randn(1, 3, 13, 18))
    assert y.shape == (1, -(-13 // layer.stride), -(-18 // layer.stride), 8)


def test_another_stride_is_refused():
    with pytest.raises(ValueError, match="2 or 4, got 3"):
        ConvStem(3, 8, stride=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": [1]}, "got 2, 1 and 2 entries"),
        ({"mixers": {"s1": Pooling}}, r"needs mixers for \['s1', 's2'\], got \['s1'\]"),
        ({"dims": [], "depths": [], "num_heads": []}, "got 0, 0 and 0"),
    ],
)
def test_rows_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalBackbone(**(ROWS | {"mixers": MIXERS} | changes))


def test_one_stage_class_per_stage():
    class Other(Stage):
        pass

    stage = partial(Stage, downsample=PatchMerging)
    model = HierarchicalBackbone(
        **ROWS, mixers=MIXERS, stage={"s1": stage, "s2": partial(Other, downsample=PatchMerging)}
    )
    assert [type(s) for s in model.stages] == [Stage, Other]


def test_layer_scale_starts_a_branch_small():
    x = torch.randn(1, 4, 4, 8)
    plain, scaled = Block(8, Pooling()), Block(8, Pooling(), layer_scale=1e-5)
    assert (scaled(x) - x).abs().max() < 1e-3 < (plain(x) - x).abs().max()


def test_an_unknown_output_format_is_refused():
    model = HierarchicalBackbone(**ROWS, mixers=MIXERS)
    with pytest.raises(ValueError, match="NCHW or NHWC, got NLC"):
        model.forward_intermediates(torch.randn(1, 3, 32, 32), output_fmt="NLC")
    nhwc = model.forward_intermediates(torch.randn(1, 3, 32, 32), output_fmt="NHWC", intermediates_only=True)
    assert nhwc[0].shape == (1, 8, 8, 8)


def test_unknown_names_give_the_nearest():
    with pytest.raises(ConfigError, match="did you mean swin_pico"):
        visionattn.create_backbone("swin_pic")
    with pytest.raises(ConfigError, match="mixer"):
        visionattn.create_backbone("swin_pico", overrides=["mixer@mixers.s1=windou"])
    with pytest.raises(ConfigError, match="mlp_ratio"):
        visionattn.create_backbone("swin_pico", overrides=["block.mlp_ration=3"])


def test_arguments_reach_the_backbone():
    model = visionattn.create_backbone("swin_pico", num_classes=7, in_chans=1, drop_path_rate=0.1)
    assert model(torch.randn(1, 1, 32, 32)).shape == (1, 7)
    assert visionattn.list_backbones("swin_p*") == ["swin_pico"]


def test_compiles_without_a_graph_break():
    model = visionattn.create_backbone("dinat_pico", num_classes=3).eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-5)


def test_timms_layer_groups_follow_the_depth_of_the_parameters():
    """timm's own tools read ``group_matcher``, ours ``layer_of``: the same order from stem to head."""
    model = HierarchicalBackbone(**ROWS, mixers=MIXERS, num_classes=3)
    groups = group_with_matcher(model.named_parameters(), model.group_matcher(), return_values=False, reverse=True)
    assert set(groups) == dict(model.named_parameters()).keys()
    in_order = sorted(groups, key=lambda name: (groups[name], model.layer_of(name)))
    depths = [model.layer_of(name) for name in in_order if ".downsample." not in name]
    assert depths == sorted(depths)
    assert len({groups[name] for name in groups if ".blocks." in name}) == sum(ROWS["depths"])
    coarse = group_with_matcher(model.named_parameters(), model.group_matcher(coarse=True), reverse=True)
    assert len({coarse[name] for name in coarse if name.startswith("stages.")}) == len(ROWS["dims"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"got a tensor of shape \(3, 8, 8\); images\[None\] makes a batch"),
        (torch.zeros(2, 1, 8, 8), r"takes images of 3 channels \(B, 3, H, W\), got a tensor of shape \(2, 1, 8, 8\)"),
        (torch.zeros(2, 8, 8, 3), "takes images of 3 channels"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "takes normalized floats, got uint8: divide by 255"),
        ([[0.0]], "takes a tensor of images .*, got list"),
    ],
)
def test_what_is_no_batch_of_images_is_told(images, message):
    model = HierarchicalBackbone(**ROWS, mixers=MIXERS, num_classes=2)
    with pytest.raises((ValueError, TypeError), match=message):
        model(images)
