"""Layers of backbones for layer-wise rates, against published rules written out for our names."""

import re

import pytest
import torch
from timm.models._manipulate import group_with_matcher

import visionattn
from visionattn import config
from visionattn.backbones import LayerGroups
from visionattn.training.parameter_groups import parameter_groups


def place(name):
    """``(stage, block)`` of a parameter, without a block for downsampling, or None."""
    found = re.match(r"stages\.(\d)\.(?:blocks\.(\d+)\.|downsample\.)", name)
    return found and (int(found[1]), None if found[2] is None else int(found[2]))


def hornet_by_blocks(name):
    """In detection: 12 layers, two blocks of the third stage each, as BEiT's rule was adapted."""
    if name.startswith("stem."):
        return 12 + 1
    if place(name) is None:
        return 0
    stage, block = place(name)
    first = {0: 1, 1: 2, 2: 3, 3: 12}[stage]
    return 13 - (min(3 + (block or 0) // 2, 11) if stage == 2 else first)


def hornet_by_stages(name, layers=12):
    """In segmentation: a layer for each stage, none for downsampling; the head as if there were 12, or 6."""
    if place(name) is None:
        return layers + 1 if name.startswith("stem.") else 0
    stage, block = place(name)
    return layers + 1 if block is None else layers - stage


def recipe(name):
    return config.compose("train", [f"experiment={name}", "name=x", "backbone_name=x", "run_dir=x", "data.root=x"])


@pytest.mark.parametrize(
    ("name", "rate", "depth_of"),
    [
        ("coco/cascade_mask_rcnn_hornet_base_7x7_3x", 0.8, hornet_by_blocks),
        ("coco/cascade_mask_rcnn_hornet_large_gf_3x", 0.7, hornet_by_blocks),
        ("ade20k/upernet_hornet_base_gf_160k", 0.9, hornet_by_stages),
        ("ade20k/upernet_hornet_large_7x7_160k", 0.8, hornet_by_stages),
        ("ade20k/upernet_hornet_tiny_7x7_160k", 0.9, lambda name: hornet_by_stages(name, 6)),
    ],
)
def test_hornets_rates_are_the_published_ones(name, rate, depth_of):
    cfg = recipe(name)
    with torch.device("meta"):
        task = config.instantiate(cfg.task)
    scales = {}
    for group in parameter_groups(task.backbone, task.head, weight_decay=0.0, layer_decay=cfg.task.layer_decay):
        scales |= {id(param): group["lr_scale"] for param in group["params"]}
    wanted = {param_name: rate ** depth_of(param_name) for param_name, _ in task.backbone.named_parameters()}
    found = {param_name: scales[id(param)] for param_name, param in task.backbone.named_parameters()}
    assert found == pytest.approx(wanted)
    assert {scales[id(param)] for param in task.head.parameters()} == {1.0}


@pytest.mark.parametrize("groups", [None, LayerGroups([1, 2, 1]), LayerGroups([1, 2, 1], downsampling="stem", head=7)])
def test_timm_divides_the_parameters_alike(groups):
    model = visionattn.create_backbone("swin_pico", num_classes=3)
    model.layer_groups = groups or model.layer_groups
    theirs = group_with_matcher(model.named_parameters(), model.group_matcher(), return_values=False, reverse=True)
    ours = model.layer_groups.of_parameters(model)
    below = {name for name in ours if not name.startswith(("norm.", "head."))}
    assert {name: ours[name] for name in below} == {name: theirs[name] for name in below}


def test_blocks_are_divided_evenly():
    convnext = LayerGroups([1, 1, 9, 1])  # three blocks of 27 together
    assert convnext.blocks([3, 3, 27, 3])[2] == [3 + block // 3 for block in range(27)]
    assert convnext.of_head([3, 3, 27, 3]) == 13
    assert LayerGroups().blocks([2, 1]) == [[1, 2], [3]]
    assert LayerGroups([1, 4]).blocks([2, 2]) == [[1, 1], [2, 3]]  # no more layers than blocks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_stage": [1, 0]}, r"one positive number per stage, got \[1, 0\]"),
        ({"per_stage": [1]}, "one number for each of 2 stages"),
        ({"head": 3}, "after 4 layers, its number cannot be 3"),
        ({"downsampling": "head"}, "stage or stem, got head"),
    ],
)
def test_layers_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LayerGroups(**options).of_head([2, 1])
