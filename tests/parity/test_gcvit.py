"""GC ViT against timm's: counts, values, the official code's names, any size, and no image sees another."""

import pytest
import timm
import torch
from timm.models.gcvit import GlobalContextVit
from torch import Tensor, nn
from torch.nn import functional as F

import visionattn
from tests.parity.timm_pairs import CLASSES, beside, count, largest_error, leak, meta, pair, relative
from visionattn.backbones import zoo

IN_TIMM = ["xxtiny", "xtiny", "tiny", "small", "base"]
SIZES = [*IN_TIMM, "tiny2", "small2", "large"]
LIMIT = 1e-5


def timms(size: str, depth: int | None = None, **kwargs) -> GlobalContextVit:
    """timm's class with the rows of our model, so that models it does not list can be compared as well."""
    rows = zoo.backbone_files()[f"gcvit_{size}"]
    depths = [depth] * 4 if depth else rows["depths"]
    block = rows["block"]
    return GlobalContextVit(
        embed_dim=rows["dims"][0],
        depths=depths,
        num_heads=rows["num_heads"],
        mlp_ratio=block["mlp_ratio"],
        layer_scale=block.get("layer_scale"),
        **kwargs,
    )


@pytest.mark.parametrize("size", SIZES)
def test_count_is_published_and_timms(size):
    ours = count(meta(visionattn.create_backbone, f"gcvit_{size}"))
    assert ours == zoo.backbone_files()[f"gcvit_{size}"]["card"]["params"]
    assert ours == count(meta(timms, size))
    if size in IN_TIMM:
        assert ours == count(meta(timm.create_model, f"gcvit_{size}"))


def test_values_at_full_depth():
    assert largest_error(*pair("gcvit_xxtiny", "gcvit_xxtiny"), (224, 224), norm=True) < LIMIT


@pytest.mark.parametrize("size", ["tiny", "small", "small2", "base"])
def test_values_of_the_other_sizes(size):
    ours, theirs = beside(f"gcvit_{size}", timms(size, 2, num_classes=CLASSES), ["depths=[2,2,2,2]"])
    assert largest_error(ours, theirs, (224, 224), norm=True) < LIMIT


@pytest.mark.heavy
@pytest.mark.parametrize("size", ["xtiny", "tiny", "tiny2", "large"])
def test_values_of_the_rest(size):
    depth = 2 if size == "large" else None
    ours, theirs = beside(
        f"gcvit_{size}", timms(size, depth, num_classes=CLASSES), ["depths=[2,2,2,2]"] if depth else []
    )
    assert largest_error(ours, theirs, (224, 224), norm=True) < LIMIT


def test_values_with_the_windows_of_another_image_size():
    windows = [
        f"mixers.s{stage}.mixers.{kind}.window_size={window}"
        for stage, window in enumerate((10, 10, 20, 10), start=1)
        for kind in ("own", "shared")
    ]
    ours, theirs = beside(
        "gcvit_xxtiny", timms("xxtiny", 2, num_classes=CLASSES, img_size=320), ["depths=[2,2,2,2]", *windows]
    )
    assert largest_error(ours, theirs, (320, 320), norm=True) < LIMIT


def as_published_for_detection(model: nn.Module, image: Tensor) -> Tensor:
    """timm's parts under the rule of the published detection code: maps padded to windows, query resized."""
    x = model.stem(image)
    for stage in model.stages:
        x = stage.downsample(x)
        window = stage.blocks[0].window_size
        query = F.interpolate(stage.global_block(x), window, mode="bicubic").permute(0, 2, 3, 1)
        x = x.permute(0, 2, 3, 1)
        for block in stage.blocks:
            height, width = x.shape[1:3]
            y = F.pad(block.norm1(x), (0, 0, 0, -width % window[1], 0, -height % window[0]))
            x = x + block.ls1(block._window_attn(y, query)[:, :height, :width])
            x = x + block.ls2(block.mlp(block.norm2(x)))
        x = stage.norm(x).permute(0, 3, 1, 2)
    return model.forward_head(x)


@torch.no_grad()
def test_other_image_sizes_follow_the_published_detection_code():
    ours, theirs = beside("gcvit_xxtiny", timms("xxtiny", 2, num_classes=CLASSES), ["depths=[2,2,2,2]"])
    for size in [(200, 333), (75, 100)]:
        image = torch.randn(2, 3, *size)
        assert relative(ours(image), as_published_for_detection(theirs, image)) < LIMIT
    assert leak(ours, (75, 100)) < 1e-5
    assert leak(ours, (224, 224)) < 1e-5


def official(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """timm's name and layout of a weight -> the official code's."""
    for new, old in [
        ("conv_block.conv_dw", "conv.0"),
        ("conv_block.se.fc1", "conv.2.fc.0"),
        ("conv_block.se.fc2", "conv.2.fc.2"),
        ("conv_block.conv_pw", "conv.3"),
        ("conv_dw", "conv.0"),
        ("se.fc1", "conv.2.fc.0"),
        ("se.fc2", "conv.2.fc.2"),
        ("conv_pw", "conv.3"),
        ("stem.conv1", "patch_embed.proj"),
        ("stem.down", "patch_embed.conv_down"),
        ("stages.3.norm", "norm"),
        ("rel_pos.", ""),
        ("ls1.gamma", "gamma1"),
        ("ls2.gamma", "gamma2"),
        ("head.fc", "head"),
    ]:
        name = name.replace(new, old)
    parts = name.split(".")
    if parts[0] == "stages":
        parts[0] = "levels"
        if parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        if parts[2] == "global_block":
            parts[2:5] = ["q_global_gen", "to_q_global", str(int(parts[4].removeprefix("conv")) - 1)]
    return ".".join(parts), tensor[:, :, 0, 0] if ".fc." in name and tensor.ndim == 4 else tensor


def test_official_names_give_the_same_model():
    overrides = ["depths=[2,2,2,2]"]
    ours, theirs = beside("gcvit_small", timms("small", 2, num_classes=CLASSES), overrides)
    state = dict(official(name, tensor) for name, tensor in theirs.state_dict().items())
    for name in ["levels.0.q_global_gen.to_q_global.2.conv.2.fc.0.weight", "levels.0.downsample.reduction.weight"]:
        assert name in state
    state["levels.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    other = visionattn.create_backbone("gcvit_small", num_classes=CLASSES, overrides=overrides, weights=state)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
