"""Backbone and head of another project's model, by that project's names: Mask2Former's official ones and
transformers', UPerNet's of OpenMMLab and of transformers, Semantic FPN's of OpenMMLab, a classifier of transformers'.
"""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import visionattn
from tests.weights.published_names import published_backbone, renamed
from visionattn.errors import CheckpointError
from visionattn.heads.panoptic import Mask2Former
from visionattn.heads.segmentation import FullyConvolutional, SegmentationHead, SemanticFPN, UPerNet
from visionattn.training.serving import without_unused
from visionattn.weights.load import load_model, load_weights
from visionattn.weights.whole_models import as_backbone_and_head

pytest.importorskip("transformers.models.mask2former")
DIMS = [32, 64, 128, 256]
SIZES = {"channels": 32, "num_queries": 10, "encoder_layers": 2, "encoder_width": 48, "decoder_layers": 2}
SIZES |= {"decoder_width": 64, "num_heads": 4, "num_points": 64}

# names of the published detectron2 code, for transformers' names of the same module
PIXELS = {
    r"input_projections\.": "input_proj.",
    r"encoder\.layers\.(\d+)\.fc": r"transformer.encoder.layers.\1.linear",
    r"encoder\.layers\.(\d+)\.self_attn_layer_norm": r"transformer.encoder.layers.\1.norm1",
    r"encoder\.layers\.(\d+)\.final_layer_norm": r"transformer.encoder.layers.\1.norm2",
    r"encoder\.layers\.(\d+)\.self_attn\.": r"transformer.encoder.layers.\1.self_attn.",
    r"level_embed$": "transformer.level_embed",
    r"mask_projection": "mask_features",
    r"(adapter_1|layer_1)\.0\.": r"\1.",
    r"(adapter_1|layer_1)\.1\.": r"\1.norm.",
}
QUERIES = {
    r"decoder\.layers\.(\d+)\.self_attn\.": r"transformer_self_attention_layers.\1.self_attn.",
    r"decoder\.layers\.(\d+)\.self_attn_layer_norm": r"transformer_self_attention_layers.\1.norm",
    r"decoder\.layers\.(\d+)\.cross_attn\.": r"transformer_cross_attention_layers.\1.multihead_attn.",
    r"decoder\.layers\.(\d+)\.cross_attn_layer_norm": r"transformer_cross_attention_layers.\1.norm",
    r"decoder\.layers\.(\d+)\.fc": r"transformer_ffn_layers.\1.linear",
    r"decoder\.layers\.(\d+)\.final_layer_norm": r"transformer_ffn_layers.\1.norm",
    r"decoder\.layernorm": "decoder_norm",
    r"decoder\.mask_predictor\.mask_embedder\.(\d)\.0": r"mask_embed.layers.\1",
    r"queries_embedder": "query_embed",
    r"queries_features": "query_feat",
}


@pytest.fixture(scope="module")
def model():
    """transformers' whole model, small, with weights that differ everywhere."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    stages = [f"stage{i}" for i in (1, 2, 3, 4)]
    swin = SwinConfig(embed_dim=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], window_size=7, out_features=stages)
    config = Mask2FormerConfig(
        backbone_config=swin,
        num_labels=5,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        num_queries=10,
        encoder_layers=2,
        encoder_feedforward_dim=48,
        decoder_layers=3,
        dim_feedforward=64,
        num_attention_heads=4,
        train_num_points=64,
    )
    torch.manual_seed(0)
    whole = Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return whole


def ours(name="swin_tiny", classes=5):
    rows = [f"dims={DIMS}", "depths=[1,1,2,1]", "num_heads=[1,2,4,8]"]
    backbone = visionattn.create_backbone(name, num_classes=0, overrides=rows).eval()
    return backbone, Mask2Former(backbone.feature_info, classes, **SIZES).eval()


def official(head, backbone):
    """A state dict under the published code's names: the head's weights, and a backbone's with its four norms."""
    found, parts = {}, {}
    for name, tensor in head.network.state_dict().items():
        part, rest = name.split(".", 1)
        if part == "pixel_decoder":
            found[f"sem_seg_head.pixel_decoder.{renamed(rest, PIXELS)}"] = tensor
            continue
        own = rest if part == "transformer_module" else f"class_embed.{rest}"
        name = f"sem_seg_head.predictor.{renamed(own, QUERIES)}"
        if one := re.fullmatch(r"(.+\.self_attn\.)([qkv])_proj\.(weight|bias)", name):
            parts.setdefault(f"{one[1]}in_proj_{one[3]}", {})[one[2]] = tensor
        else:
            found[name] = tensor
    found |= {name: torch.cat([one[k] for k in "qkv"]) for name, one in parts.items()}
    found |= {f"backbone.{name}": tensor for name, tensor in backbone.items()}
    for i, norm in enumerate(head.norms.norms[:3]):
        found |= {f"backbone.norm{i}.{name}": tensor for name, tensor in norm.state_dict().items()}
    return found | {"criterion.empty_weight": head.criterion.empty_weight, "pixel_mean": torch.zeros(3, 1, 1)}


@torch.no_grad()
def answers(backbone, head):
    torch.manual_seed(1)
    image = torch.randn(1, 3, 256, 288)
    found = head(backbone.forward_intermediates(image, norm=True, intermediates_only=True))
    return image, found


def relative(mine, theirs):
    return float((mine - theirs).norm() / theirs.norm())


def test_a_model_saved_by_transformers(model, tmp_path: Path):
    """save_pretrained writes the names that the files on the Hub have."""
    model.save_pretrained(tmp_path)
    backbone, head = ours()
    report = load_model(backbone, head, tmp_path / "model.safetensors")
    assert report.fresh == report.left_out == []
    image, found = answers(backbone, head)
    with torch.no_grad():
        expected = model(image)
    assert relative(found.classes, expected.class_queries_logits) < 1e-5
    assert relative(found.masks, expected.masks_queries_logits) < 1e-5


def test_another_number_of_classes_starts_the_last_layer_afresh(model):
    backbone, head = ours(classes=7)
    report = load_model(backbone, head, model.state_dict())
    names = ["head.network.class_predictor.weight (8, 32)", "head.network.class_predictor.bias (8,)"]
    assert report.fresh == [*names, "head.criterion.empty_weight (8,)"]


def test_the_backbone_alone(model):
    backbone, head = ours()
    load_model(backbone, head, model.state_dict())
    alone, _ = ours()
    report = load_weights(alone, model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), backbone.parameters(), strict=True))
    assert "left out: head.network, " in "\n".join(report.lines())


@pytest.mark.parametrize("name", ["swin_tiny", "dinat_tiny"])
def test_the_official_names(model, name):
    backbone, head = ours(name)
    if name == "swin_tiny":
        load_model(backbone, head, model.state_dict())
    else:
        with torch.no_grad():
            for parameter in (*backbone.parameters(), *head.parameters()):
                parameter.add_(0.02 * torch.randn_like(parameter))
    _, expected = answers(backbone, head)
    state = official(head, published_backbone(name, backbone))
    fresh_backbone, fresh_head = ours(name)
    report = load_model(fresh_backbone, fresh_head, {"model": state})
    assert report.fresh == report.left_out == []
    _, found = answers(fresh_backbone, fresh_head)
    assert torch.equal(found.classes, expected.classes)
    assert torch.equal(found.masks, expected.masks)


def test_an_entry_that_does_not_fit_is_named(model):
    backbone, head = ours()
    state = model.state_dict()
    del state["class_predictor.bias"]
    state["transformer_module.decoder.layers.9.fc1.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        load_model(backbone, head, state)
    assert "network.class_predictor.bias" in str(error.value)
    assert "decoder.layers.9.fc1.weight" in str(error.value)


@torch.no_grad()
def test_a_classifier_saved_by_transformers(tmp_path: Path):
    from transformers import SwinConfig, SwinForImageClassification

    torch.manual_seed(0)
    config = SwinConfig(embed_dim=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], window_size=7, num_labels=9)
    theirs = SwinForImageClassification(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    rows = [f"dims={DIMS}", "depths=[1,1,2,1]", "num_heads=[1,2,4,8]"]
    mine = visionattn.create_backbone(
        "swin_tiny", num_classes=9, overrides=rows, weights=tmp_path / "model.safetensors"
    ).eval()
    image = torch.randn(1, 3, 224, 224)
    assert relative(mine(image), theirs(image).logits) < 1e-5


@pytest.mark.parametrize("project", ["transformers", "OpenMMLab"])
@torch.no_grad()
def test_upernet(tmp_path: Path, project):
    """OpenMMLab's file is made of transformers' by the names in which the two differ; its Swin is the official one."""
    from transformers import SwinConfig, UperNetConfig, UperNetForSemanticSegmentation

    torch.manual_seed(0)
    stages = [f"stage{i}" for i in (1, 2, 3, 4)]
    swin = SwinConfig(embed_dim=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], window_size=7, out_features=stages)
    config = UperNetConfig(backbone_config=swin, hidden_size=16, auxiliary_channels=24, num_labels=5)
    config.auxiliary_in_channels = DIMS[2]
    theirs = UperNetForSemanticSegmentation(config).eval()
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.02 * torch.rand_like(tensor))
    theirs.save_pretrained(tmp_path)
    rows = [f"dims={DIMS}", "depths=[1,1,2,1]", "num_heads=[1,2,4,8]"]
    backbone = visionattn.create_backbone("swin_tiny", num_classes=0, overrides=rows).eval()
    parts = {"decoder": partial(UPerNet, channels=16), "auxiliary": partial(FullyConvolutional, channels=24)}
    head = SegmentationHead(backbone.feature_info, 5, **parts).eval()
    source = tmp_path / "model.safetensors"
    if project == "OpenMMLab":
        load_model(backbone, head, source)
        source = openmmlab(load_file(source), backbone, head)
    fresh = visionattn.create_backbone("swin_tiny", num_classes=0, overrides=rows).eval()
    fresh_head = SegmentationHead(backbone.feature_info, 5, **parts).eval()
    report = load_model(fresh, fresh_head, source)
    assert report.fresh == report.left_out == []
    image = torch.randn(1, 3, 224, 256)
    logits, _ = fresh_head(fresh.forward_intermediates(image, norm=True, intermediates_only=True))
    whole = F.interpolate(logits, size=image.shape[-2:], mode="bilinear")
    assert relative(whole, theirs(image).logits) < 1e-5


@pytest.fixture(scope="module")
def upernet_file():
    """A small Swin with UPerNet and its auxiliary head, as OpenMMLab names them."""
    backbone, head = small_upernet()
    table = {
        r"head\.decoder\.pooling\.pools\.(\d)\.1\.0": r"decode_head.psp_modules.\1.1.conv",
        r"head\.decoder\.pooling\.pools\.(\d)\.1\.1": r"decode_head.psp_modules.\1.1.bn",
        r"head\.decoder\.pooling\.fuse\.0": "decode_head.bottleneck.conv",
        r"head\.decoder\.pooling\.fuse\.1": "decode_head.bottleneck.bn",
        r"head\.decoder\.lateral\.(\d)\.0": r"decode_head.lateral_convs.\1.conv",
        r"head\.decoder\.lateral\.(\d)\.1": r"decode_head.lateral_convs.\1.bn",
        r"head\.decoder\.smooth\.(\d)\.0": r"decode_head.fpn_convs.\1.conv",
        r"head\.decoder\.smooth\.(\d)\.1": r"decode_head.fpn_convs.\1.bn",
        r"head\.decoder\.fuse\.0": "decode_head.fpn_bottleneck.conv",
        r"head\.decoder\.fuse\.1": "decode_head.fpn_bottleneck.bn",
        r"head\.decoder\.classify\.1": "decode_head.conv_seg",
        r"head\.auxiliary\.conv\.0": "auxiliary_head.convs.0.conv",
        r"head\.auxiliary\.conv\.1": "auxiliary_head.convs.0.bn",
        r"head\.auxiliary\.classify\.1": "auxiliary_head.conv_seg",
        r"head\.norms\.norms\.(\d)": r"backbone.norm\1",
    }
    state = {renamed(f"head.{name}", table): tensor for name, tensor in head.state_dict().items()}
    return state | {f"backbone.{name}": x for name, x in published_backbone("swin_tiny", backbone).items()}


def small_upernet(**options):
    torch.manual_seed(0)
    rows = [f"dims={DIMS}", "depths=[1,1,1,1]", "num_heads=[1,2,4,8]"]
    backbone = visionattn.create_backbone("swin_tiny", num_classes=0, overrides=rows).eval()
    parts = {"decoder": partial(UPerNet, channels=16), "auxiliary": partial(FullyConvolutional, channels=24)}
    return backbone, SegmentationHead(backbone.feature_info, 5, **(parts | options)).eval()


def test_a_part_that_no_segmenter_has_is_named(upernet_file):
    """As of a detector: without it the head would compute something else."""
    assert not load_model(*small_upernet(), upernet_file).left_out
    for part in ("decode_head.refine.conv.weight", "neck.convs.0.conv.weight"):
        with pytest.raises(CheckpointError, match=rf"of a UPerNet .+ with 1 tensor that no head here has \({part}\)"):
            load_model(*small_upernet(), upernet_file | {part: torch.zeros(3)})


def test_the_head_of_another_kind_is_told(upernet_file):
    backbone, _ = small_upernet()
    with pytest.raises(CheckpointError, match=r"of UPerNet .+, the head is of another kind \(Mask2Former\)"):
        load_model(backbone, Mask2Former(backbone.feature_info, 5, **SIZES), upernet_file)


def test_without_an_auxiliary_head_its_weights_are_left_out(upernet_file):
    report = load_model(*small_upernet(auxiliary=None), upernet_file)
    assert report.fresh == []
    assert {name.split(".")[1] for name in report.left_out} == {"auxiliary"}


def test_norms_that_the_head_does_not_have_are_named(upernet_file):
    with pytest.raises(CheckpointError, match=r"not in the model: head\.norms\.norms\.0\.weight"):
        load_model(*small_upernet(feature_norms="none"), upernet_file)


def openmmlab(state, backbone, head):
    table = {r"\.batch_norm\.": ".bn.", r"_head\.classifier\.": "_head.conv_seg."}
    found = {}
    for name, tensor in state.items():
        if not name.startswith("backbone."):
            for old, new in table.items():
                name = re.sub(old, new, name)
            found[name] = tensor
    found |= {f"backbone.{name}": tensor for name, tensor in published_backbone("swin_tiny", backbone).items()}
    for i, norm in enumerate(head.norms.norms[:3]):
        found |= {f"backbone.norm{i}.{name}": tensor for name, tensor in norm.state_dict().items()}
    return {"meta": {}, "state_dict": found}


class NormedConv(nn.Module):
    """OpenMMLab's unit of a convolution and, where asked, a batch norm and ReLU, under its names."""

    def __init__(self, dim_in, dim, side, normed=False):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, side, padding=side // 2, bias=not normed)
        self.bn = nn.BatchNorm2d(dim) if normed else None

    def forward(self, x):
        x = self.conv(x)
        return x if self.bn is None else self.bn(x).relu()


class OpenMMLabSemanticFPN(nn.Module):
    """Its pyramid and head, written out: maps of stride 4 to 32 -> scores of classes at stride 4."""

    def __init__(self, dims, width, branch, num_classes):
        super().__init__()
        self.neck, self.decode_head = nn.Module(), nn.Module()
        self.neck.lateral_convs = nn.ModuleList(NormedConv(dim, width, 1) for dim in dims)
        self.neck.fpn_convs = nn.ModuleList(NormedConv(width, width, 3) for _ in dims)
        double = nn.Upsample(scale_factor=2, mode="bilinear")
        first, *upper = (NormedConv(width, branch, 3, normed=True) for _ in dims)
        heads = [nn.Sequential(first)]
        for level, start in enumerate(upper):
            more = [layer for _ in range(level) for layer in (NormedConv(branch, branch, 3, normed=True), double)]
            heads.append(nn.Sequential(start, double, *more))
        self.decode_head.scale_heads = nn.ModuleList(heads)
        self.decode_head.conv_seg = nn.Conv2d(branch, num_classes, 1)

    def forward(self, maps):
        levels = [conv(x) for conv, x in zip(self.neck.lateral_convs, maps, strict=True)]
        for i in (2, 1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[2:], mode="nearest")
        out = None
        for conv, head, x in zip(self.neck.fpn_convs, self.decode_head.scale_heads, levels, strict=True):
            part = head(conv(x))
            out = part if out is None else out + F.interpolate(part, size=out.shape[2:], mode="bilinear")
        return self.decode_head.conv_seg(out)


@torch.no_grad()
def test_semantic_fpn_of_openmmlab():
    torch.manual_seed(0)
    theirs = OpenMMLabSemanticFPN(DIMS, 16, 12, 5).eval()
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    rows = [f"dims={DIMS}", "depths=[1,1,2,1]", "num_heads=[1,2,4,8]"]
    backbone = visionattn.create_backbone("swin_tiny", num_classes=0, overrides=rows).eval()
    head = SegmentationHead(
        backbone.feature_info, 5, decoder=partial(SemanticFPN, channels=16, branch_channels=12), auxiliary=None
    ).eval()
    own = {f"backbone.{name}": tensor for name, tensor in published_backbone("swin_tiny", backbone).items()}
    own |= {f"backbone.norm{i}.{name}": x for i in range(3) for name, x in head.norms.norms[i].state_dict().items()}
    report = load_model(backbone, head, {"meta": {}, "state_dict": {**own, **theirs.state_dict()}})
    assert report.fresh == []
    for size in ((128, 160), (100, 134)):  # the second with maps that are not halves of one another
        maps = backbone.forward_intermediates(torch.randn(2, 3, *size), norm=True, intermediates_only=True)
        assert relative(head(maps)[0], theirs(head.norms(maps))) < 1e-5


def test_norms_that_end_the_stages_stay_with_the_backbone():
    """In PVT's layout, which TransNeXt has; CAS-ViT's norms of maps are batch norms, and no head's here."""
    for first, numbers in (("block1.0.norm1.weight", (1, 2, 3, 4)), ("norm6.running_mean", (0, 2, 4, 6))):
        names = [f"backbone.{first}", *(f"backbone.norm{i}.weight" for i in numbers)]
        for head in ("decode_head.psp_modules.0.1.conv.weight", "decode_head.scale_heads.0.0.conv.weight"):
            found = as_backbone_and_head({name: torch.zeros(1) for name in [head, *names]})
            assert [name for name in found if name.startswith("backbone.")] == names


@torch.no_grad()
def test_norms_on_all_maps_instead_of_the_backbones_own():
    """BiFormer's dense code leaves out the batch norm of classification, which nothing then takes."""
    rows = ["dims=[16,32,64,128]", "depths=[1,1,1,1]", "num_heads=[1,1,2,4]"]
    backbone = visionattn.create_backbone("biformer_small", num_classes=0, overrides=rows).eval()
    backbone.norm.running_mean.fill_(1.0)
    x, whole = torch.randn(1, 3, 96, 128), dict(backbone.state_dict())
    raw = backbone.forward_intermediates(x, intermediates_only=True)
    parts = {"decoder": partial(SemanticFPN, channels=8, branch_channels=8)}
    head = SegmentationHead(backbone.feature_info, 5, feature_norms="instead", **parts).eval()
    without_unused(backbone, head)
    maps = head.norms(backbone.forward_intermediates(x, norm=True, intermediates_only=True))
    torch.testing.assert_close(maps[3], F.layer_norm(raw[3].movedim(1, 3), (128,)).movedim(3, 1))
    assert "norm.weight" in load_weights(backbone, whole).left_out
    other = visionattn.create_backbone("biformer_small", num_classes=0, overrides=rows)
    without_unused(other, SegmentationHead(other.feature_info, 5, feature_norms="all", **parts))
    assert "norm.weight" in other.state_dict()


def test_cswin_counts_the_norms_from_one():
    names = ["decode_head.psp_modules.0.1.conv.weight", "backbone.stage1.0.norm1.weight"]
    names += [f"backbone.norm{i}.weight" for i in (1, 2, 3, 4)]
    found = as_backbone_and_head({name: torch.tensor(float(i)) for i, name in enumerate(names)})
    assert {name: int(value) for name, value in found.items()} == {
        "head.decoder.pooling.pools.0.1.0.weight": 0,
        "backbone.stage1.0.norm1.weight": 1,
        "head.norms.norms.0.weight": 2,
        "head.norms.norms.1.weight": 3,
        "head.norms.norms.2.weight": 4,
        "backbone.norm.weight": 5,
    }


@pytest.mark.parametrize(
    ("head", "own", "norm"),
    [
        ("psp_modules.0.1.conv", "layers.0.blocks.0.attn.qkvo", "norm.weight"),  # MAViT
        ("scale_heads.0.0.conv", "stages.0.0.attn.qkv", "weight"),  # BiFormer
    ],
)
def test_some_backbones_have_a_norm_for_each_map(head, own, norm):
    names = [f"decode_head.{head}.weight", f"backbone.{own}.weight"]
    names += [f"backbone.extra_norms.{i}.{norm}" for i in range(4)]
    found = as_backbone_and_head({name: torch.tensor(float(i)) for i, name in enumerate(names)})
    norms = {f"head.norms.norms.{i}.weight": i + 2 for i in range(4)}
    assert {name: int(value) for name, value in found.items() if "norms" in name} == norms
