"""Swin equals timm's Swin: parameter counts, outputs with random weights everywhere, and the mixer at awkward sizes."""

import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

import visionattn
from visionattn.attention import WindowAttention
from visionattn.backbones import zoo

NAMES = [name for name in visionattn.list_backbones("swin_*") if "weights" in zoo.backbone_files()[name]["card"]]


def timm_name(name: str) -> str:
    return zoo.backbone_files()[name]["card"]["weights"]["timm"]


def native_size(name: str) -> tuple[int, int]:
    return tuple(zoo.backbone_files()[name]["card"]["input_size"][1:])


def randomized(module: nn.Module) -> nn.Module:
    """Random numbers in every parameter, of a size that keeps activations near 1 and every one of them in effect."""
    for name, param in module.named_parameters():
        if param.ndim > 1 and "table" not in name:
            nn.init.normal_(param, std=param[0].numel() ** -0.5)
        elif name.endswith("weight"):
            nn.init.normal_(param, mean=1, std=0.1)
        else:
            nn.init.normal_(param, std=0.5)
    return module.eval()


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


@torch.no_grad()
def pair(name: str, depths: list[int], size: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
    """timm's model built for ``size`` and ours with its weights."""
    theirs = randomized(timm.create_model(timm_name(name), depths=depths, img_size=size))
    ours = visionattn.create_backbone(name, overrides=[f"depths={depths}"], weights=theirs.state_dict()).eval()
    return ours, theirs


def check_outputs(ours: nn.Module, theirs: nn.Module, image: Tensor) -> None:
    with torch.inference_mode():
        final, maps = ours.forward_intermediates(image)
        their_final, their_maps = theirs.forward_intermediates(image)
        for mine, other in zip(maps, their_maps, strict=True):
            assert relative(mine, other) < 1e-5
        assert relative(final, their_final.permute(0, 3, 1, 2)) < 1e-5
        assert relative(ours.forward_head(final), theirs.forward_head(their_final)) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_to_the_digit(name):
    with torch.device("meta"):
        ours, theirs = visionattn.create_backbone(name), timm.create_model(timm_name(name))
    count = sum(param.numel() for param in ours.parameters())
    assert count == sum(param.numel() for param in theirs.parameters()) == zoo.backbone_files()[name]["card"]["params"]


def test_all_published_sizes_are_here():
    assert NAMES == ["swin_base", "swin_base_384", "swin_large", "swin_large_384", "swin_small", "swin_tiny"]


@pytest.mark.parametrize("size", [(224, 224), (224, 448)])
def test_swin_tiny_equals_timm_at_full_depth(size):
    ours, theirs = pair("swin_tiny", [2, 2, 6, 2], size)
    check_outputs(ours, theirs, torch.randn(1, 3, *size))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "swin_tiny"])
def test_every_size_equals_timm_at_reduced_depth(name):
    size = native_size(name)
    ours, theirs = pair(name, [1, 1, 2, 1], size)
    check_outputs(ours, theirs, torch.randn(1, 3, *size))


@pytest.mark.heavy
@pytest.mark.parametrize("wider", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_every_size_equals_timm_at_full_depth(name, wider):
    height, width = native_size(name)
    ours, theirs = pair(name, zoo.backbone_files()[name]["depths"], (height, wider * width))
    check_outputs(ours, theirs, torch.randn(1, 3, height, wider * width))


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's state dict under the names of the official repository, with the buffers that it saves."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        renamed[".".join(parts).replace("head.fc.", "head.")] = tensor
    for name in [name for name in renamed if name.endswith("relative_position_bias_table")]:
        attention = name.rpartition(".")[0]
        renamed[f"{attention}.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
        renamed[f"{attention}_mask"] = torch.zeros(4, 49, 49)
    return renamed


WRAPPED = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 299},
    "state_dict": lambda state: {"state_dict": state},
    "averaged": lambda state: {"state_dict": {n: t + 1 for n, t in state.items()}, "state_dict_ema": state},
    "model_ema": lambda state: {"model": {n: t + 1 for n, t in state.items()}, "model_ema": state},
    "ddp": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled": lambda state: {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}},
    "compiled ddp": lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
}


def test_official_names_and_every_wrapping_give_the_same_model():
    theirs = randomized(timm.create_model("swin_tiny_patch4_window7_224", depths=(2, 1, 1, 1)))
    ours = visionattn.create_backbone("swin_tiny", overrides=["depths=[2,1,1,1]"])
    state = theirs.state_dict()
    visionattn.load_weights(ours, state)
    expected = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    for naming in (official(state), state):
        for wrap in WRAPPED.values():
            for param in ours.parameters():
                nn.init.zeros_(param)
            visionattn.load_weights(ours, wrap(naming))
            assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())


def test_weights_of_another_window_are_resized():
    theirs = randomized(timm.create_model("swin_tiny_patch4_window7_224", depths=(2, 1, 1, 1)))
    overrides = ["depths=[2,1,1,1]", *(f"mixer@mixers.s{stage}=swin/12" for stage in range(1, 5))]
    with pytest.warns(UserWarning, match="position tables were resized"):
        ours = visionattn.create_backbone("swin_tiny", overrides=overrides, weights=theirs.state_dict())
    table = theirs.layers[0].blocks[1].attn.relative_position_bias_table
    larger = F.interpolate(table.t().reshape(1, 3, 13, 13), size=(23, 23), mode="bicubic", align_corners=False)[0]
    torch.testing.assert_close(ours.stages[0].blocks[1].mixer.bias_table, larger.flip(1, 2))


def test_features_and_headless_models_take_complete_checkpoints():
    theirs = randomized(timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1)))
    short = {"overrides": ["depths=[1,1,1,1]"], "weights": theirs.state_dict()}
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        maps = visionattn.create_backbone("swin_tiny", features_only=True, out_indices=(0, 2), **short).eval()(image)
        expected = theirs.forward_intermediates(image, indices=[0, 2], intermediates_only=True)
        for mine, other in zip(maps, expected, strict=True):
            assert relative(mine, other) < 1e-5
        pooled = visionattn.create_backbone("swin_tiny", num_classes=0, **short).eval()(image)
        assert relative(pooled, theirs.forward_head(theirs.forward_features(image), pre_logits=True)) < 1e-5


def block_pair(size: tuple[int, int], window: int, shifted: bool) -> tuple[WindowAttention, SwinTransformerBlock]:
    """Our mixer and timm's block, built for a map of ``size``, with the same weights."""
    shift = window // 2 if shifted else 0
    block = SwinTransformerBlock(32, size, num_heads=4, window_size=window, shift_size=shift).double()
    randomized(block)
    ours = WindowAttention(32, 4, int(shifted), window_size=window).double()
    table = block.attn.relative_position_bias_table.detach()
    sides = [2 * side - 1 for side in block.window_size]
    margin = [(full - side) // 2 for full, side in zip(ours.bias_table.shape[1:], sides, strict=True)]
    full = torch.randn_like(ours.bias_table)
    rows, cols = (slice(start, start + side) for start, side in zip(margin, sides, strict=True))
    full[:, rows, cols] = table.t().reshape(4, *sides).flip(1, 2)
    ours.load_state_dict(
        {
            **{f"qkv.{name}": tensor for name, tensor in block.attn.qkv.state_dict().items()},
            **{f"proj.{name}": tensor for name, tensor in block.attn.proj.state_dict().items()},
            "bias_table": full,
        }
    )
    return ours, block


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(14, 21), (4, 4), (7, 14), (5, 14), (3, 21)])
def test_windows_that_divide_the_map_or_are_larger_equal_timm(size, shifted):
    ours, block = block_pair(size, 7, shifted)
    x = torch.randn(2, *size, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x), block._attn(x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [(10, 13), (8, 8), (15, 14), (9, 5)])
def test_unshifted_windows_that_do_not_divide_the_map_equal_timm(size):
    ours, block = block_pair(size, 7, False)
    x = torch.randn(2, *size, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x), block._attn(x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [(10, 13), (8, 8), (15, 14), (20, 29)])
def test_shifted_windows_that_do_not_divide_the_map_equal_timm_on_the_enlarged_map(size):
    padded = tuple(-(-side // 7) * 7 for side in size)
    ours, block = block_pair(padded, 7, True)
    x = torch.randn(2, *size, 32, dtype=torch.float64)
    enlarged = F.pad(x, (0, 0, 0, padded[1] - size[1], 0, padded[0] - size[0]))
    torch.testing.assert_close(ours(x), block._attn(enlarged)[:, : size[0], : size[1]], rtol=1e-9, atol=1e-11)


def test_opposite_borders_never_meet_in_a_shifted_window():
    ours, _ = block_pair((21, 21), 7, True)
    x = torch.randn(1, 20, 18, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(ours(x)[:, -3:, -3:].square().sum(), x)
    reach = gradient[0].abs().sum(-1)
    assert reach[:10].max() == 0
    assert reach[:, :9].max() == 0
    assert reach[-3:, -3:].min() > 0
