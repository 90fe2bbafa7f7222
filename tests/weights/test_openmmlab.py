"""Swin checkpoints of mmdetection, mmsegmentation and mmpretrain, and of the official detection code."""

import pytest
import torch
from torch import nn

import visionattn
from visionattn.errors import CheckpointError
from visionattn.weights import load_weights

NAMES = {
    "stem.conv1": "patch_embed.projection",
    "stem.norm": "patch_embed.norm",
    ".mixer.bias_table": ".attn.w_msa.relative_position_bias_table",
    ".mixer.": ".attn.w_msa.",
    ".ffn.fc1.": ".ffn.layers.0.0.",
    ".ffn.fc2.": ".ffn.layers.1.",
}


@pytest.fixture(scope="module")
def model():
    built = visionattn.create_backbone("swin_pico", num_classes=4)
    for param in built.parameters():
        nn.init.normal_(param)
    return built


def openmmlab(model, around):
    """Our weights under OpenMMLab's names and in its layouts."""
    state = {f"{prefix}.weight": torch.zeros(3) for prefix in around}
    for name, tensor in model.state_dict().items():
        if name.startswith("norm."):
            name = name.replace("norm", "norm3", 1)
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        if ".downsample." in name:
            _, stage, rest = name.split(".", 2)
            name = f"stages.{int(stage) - 1}.{rest}"
            tensor = unfolded(tensor)
        if name.endswith("table"):
            tensor = tensor.flip(1, 2).flatten(1).t()
            state["backbone." + name.replace("bias_table", "index")] = torch.zeros(16, 16, dtype=torch.int64)
        if not name.startswith("head."):
            name = "backbone." + name
        state[name] = tensor
    return state


def unfolded(tensor):
    """The channels of a merging layer in the order in which ``nn.Unfold`` gives them."""
    channels = tensor.shape[-1] // 4
    number = torch.zeros(1, channels, 2, 2)
    for place, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):  # our order of the four tokens
        number[0, :, row, column] = place * channels + torch.arange(channels)
    return tensor[..., nn.Unfold(2, stride=2)(number).flatten().long()]


@pytest.mark.parametrize(
    "around", [(), ("backbone.norm0", "backbone.norm1", "backbone.norm2", "neck.lateral_convs.0.conv", "bbox_head.cls")]
)
def test_backbone_and_classifier_are_taken_and_what_stands_around_them_is_not(model, around):
    other = visionattn.create_backbone("swin_pico", num_classes=4)
    load_weights(other, {"meta": {"epoch": 12}, "state_dict": openmmlab(model, around)})
    for (name, ours), loaded in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, loaded), name


def test_a_detector_has_no_classifier_and_one_that_is_asked_for_is_missed(model):
    state = {name: tensor for name, tensor in openmmlab(model, ()).items() if not name.startswith("head.")}
    visionattn.create_backbone("swin_pico", num_classes=0, weights=state)
    visionattn.create_backbone("swin_pico", features_only=True, weights=state)
    with pytest.raises(CheckpointError, match=r"missing: head\.fc\.weight"):
        visionattn.create_backbone("swin_pico", num_classes=4, weights=state)


def test_a_bare_backbone_and_an_unknown_name_in_it(model):
    state = {name.removeprefix("backbone."): tensor for name, tensor in openmmlab(model, ()).items()}
    load_weights(visionattn.create_backbone("swin_pico", num_classes=4), state)
    state["stages.0.blocks.0.attn.w_msa.surprise"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"not in the model: stages\.0\.\S+\.surprise"):
        load_weights(visionattn.create_backbone("swin_pico", num_classes=4), state)


def test_the_official_detection_code_has_the_official_names_under_a_backbone(model):
    state = {"rpn_head.rpn_conv.weight": torch.zeros(1), "backbone.norm0.weight": torch.zeros(1)}
    for name, tensor in model.state_dict().items():
        name = name.replace("stages.", "layers.").replace("stem.conv1", "patch_embed.proj")
        name = name.replace("stem.norm", "patch_embed.norm").replace(".mixer.", ".attn.").replace(".ffn.", ".mlp.")
        if ".downsample." in name:
            _, stage, rest = name.split(".", 2)
            name = f"layers.{int(stage) - 1}.{rest}"
        if name.endswith("bias_table"):
            name, tensor = name.replace("bias_", "relative_position_bias_"), tensor.flip(1, 2).flatten(1).t()
        if not name.startswith("head."):
            state["backbone." + (name.replace("norm", "norm3") if name.startswith("norm.") else name)] = tensor
    other = visionattn.create_backbone("swin_pico", num_classes=0, weights=state)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in other.state_dict().items())
