"""Whole detectors of mmdetection: what the published code found with the same weights, and what is refused."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList

import visionattn
from tests.recorded import published_state, recorded
from tests.weights.published_names import published_backbone
from visionattn.errors import CheckpointError
from visionattn.heads.detection import RCNN, CascadeRCNN, ProposalNetwork, Pyramid, RegionHeads, RetinaNetDetector
from visionattn.weights import load_model, load_weights
from visionattn.weights.whole_models import as_backbone_and_head

ROWS = ["dims=[16,32,64,128]", "depths=[2,1,1,1]", "num_heads=[1,2,4,8]", "block.mlp_ratio=2"]
ROWS += [f"mixers.s{i}.window_size=4" for i in (1, 2, 3, 4)]
FEW = partial(ProposalNetwork, before_nms=(60, 60), after_nms=(80, 80))
REGIONS = partial(RegionHeads, width=24, mask_channels=8, per_image=30)
NARROW = {"pyramid": partial(Pyramid, channels=16), "proposals": FEW}
ON_TOP = partial(Pyramid, channels=16, extra="p6p7_input", skip=1)
HEADS = {
    "mask_rcnn": partial(RCNN, regions=REGIONS, **NARROW),
    "cascade_mask_rcnn": partial(
        CascadeRCNN, regions=partial(REGIONS, box_head="4conv1fc"), class_agnostic=False, **NARROW
    ),
    "cascade_rcnn": partial(CascadeRCNN, regions=REGIONS, masks=False, **NARROW),
    "retinanet": partial(RetinaNetDetector, pyramid=ON_TOP, topk=20, per_image=100),
}


def built(name, classes=5, **options):
    torch.manual_seed(0)
    backbone = visionattn.create_backbone("swin_tiny", num_classes=0, overrides=ROWS)
    return backbone.eval(), HEADS[name](backbone.feature_info, classes, **{"convention": "openmmlab"} | options).eval()


def published(name):
    return recorded(f"detectors/{name}")


def images_of(case, dtype=torch.float32):
    pixels = np.random.RandomState(case["seed"]).standard_normal((2, 3, *case["padded"])).astype(np.float32)
    images = torch.from_numpy(pixels).to(dtype)
    for image, (height, width) in zip(images, case["sizes"], strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return ImageList(images, [tuple(size) for size in case["sizes"]])


def error(found, expected):
    want = torch.tensor(expected, dtype=torch.float64)
    return float((found.double().flatten() - want).norm() / want.norm())


@torch.no_grad()
def found_by(backbone, head, images):
    return head(backbone.forward_intermediates(images.tensors, norm=True, intermediates_only=True), images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", HEADS)
def test_the_published_code_finds_the_same(name, dtype):
    """Boxes, scores, classes and masks of two images that do not fill their batch."""
    case = published(name)
    backbone, head = built(name)
    report = load_model(backbone, head, {"meta": {"epoch": 12}, "state_dict": published_state(case)})
    assert report.fresh == report.left_out == []
    images = images_of(case, dtype)
    found = found_by(backbone.to(dtype), head.to(dtype), images)
    for one, expected, size in zip(found, case["images"], images.image_sizes, strict=True):
        assert one["labels"].tolist() == expected["labels"]
        assert error(one["scores"], expected["scores"]) < 1e-5
        assert error(one["boxes"], expected["boxes"]) < 1e-5
        assert ("masks" in one) == ("masks" in expected)
        if "masks" in one:
            assert error(one["masks"].flatten(1).norm(dim=1), expected["masks"]) < 1e-5
            areas = head.paste(one["masks"], one["boxes"], size).flatten(1).sum(1)
            assert (areas - torch.tensor(expected["areas"])).abs().max() <= 1  # a pixel at one half to rounding


@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_rcnn"])
def test_the_published_code_proposes_the_same(name):
    case = published(name)
    backbone, head = built(name)
    load_model(backbone, head, published_state(case))
    images = images_of(case)
    with torch.no_grad():
        maps = head.pyramid(backbone.forward_intermediates(images.tensors, norm=True, intermediates_only=True))
        proposals, _ = head.rpn(images, maps)
    for boxes, expected in zip(proposals, case["images"], strict=True):
        assert len(boxes) == 80
        assert error(boxes, expected["proposals"]) < 1e-5


def test_a_file_as_mmdetection_publishes_it(tmp_path: Path):
    """Beside the weights it tells its origin, in strings, numbers and tuples."""
    case = published("mask_rcnn")
    meta = {"CLASSES": ("person", "bicycle"), "config": "model = dict(...)", "epoch": 12, "mmdet_version": "2.11.0"}
    meta["dataset_meta"] = {"classes": ("person",), "palette": [(220, 20, 60)]}
    torch.save({"meta": meta, "state_dict": published_state(case)}, tmp_path / "mask_rcnn.pth")
    backbone, head = built("mask_rcnn")
    assert not load_model(backbone, head, tmp_path / "mask_rcnn.pth").fresh


def test_weights_are_refused_where_they_would_compute_something_else():
    state = published_state(published("mask_rcnn"))
    with pytest.raises(CheckpointError, match=r"Mask R-CNN \(OpenMMLab\).+give head\.convention=openmmlab$"):
        load_model(*built("mask_rcnn", convention="torchvision"), state)
    with pytest.raises(CheckpointError, match=r"Mask R-CNN .+ of another kind \(CascadeRCNN\): give the head"):
        load_model(*built("cascade_rcnn"), state)
    with pytest.raises(CheckpointError, match=r"the head is of another kind \(RetinaNetDetector\)"):
        load_model(*built("retinanet"), state)
    agnostic, each = (published_state(published(name)) for name in ("cascade_rcnn", "cascade_mask_rcnn"))
    with pytest.raises(CheckpointError, match=r"one box for all classes, the head has a box for each .+agnostic=true$"):
        load_model(*built("cascade_rcnn", class_agnostic=False), agnostic)
    with pytest.raises(CheckpointError, match=r"a box for each class, the head has one box .+class_agnostic=false$"):
        load_model(*built("cascade_mask_rcnn", class_agnostic=True), each)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            "roi_head.semantic_head.convs.0.conv.weight",
            r"with 1 tensor that no head here has \(roi_head\.semantic_head",
        ),
        ("roi_head.mask_iou_head.fc_mask_iou.weight", r"with 1 tensor that no head here has \(roi_head\.mask_iou_head"),
        ("neck.fpn_convs.0.bn.weight", r"with 1 tensor that no head here has \(neck\.fpn_convs\.0\.bn"),
    ],
)
def test_a_part_that_no_head_has_is_named(part, told):
    state = published_state(published("mask_rcnn")) | {part: torch.zeros(3)}
    with pytest.raises(CheckpointError, match=told):
        load_model(*built("mask_rcnn"), state)


def test_a_detector_that_no_head_is_for_is_told_by_its_parts():
    state = {n: x for n, x in published_state(published("mask_rcnn")).items() if n.startswith("backbone.")}
    state |= {"neck.convs.0.conv.weight": torch.zeros(1), "bbox_head.transformer.level_embeds": torch.zeros(1)}
    with pytest.raises(
        CheckpointError, match=r"beside the backbone they hold neck, bbox_head, which no head here takes"
    ):
        load_model(*built("mask_rcnn"), state)


def test_another_number_of_classes_starts_the_last_layers_afresh():
    report = load_model(*built("cascade_mask_rcnn", classes=7), published_state(published("cascade_mask_rcnn")))
    layers = ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
    expected = {f"head.cascade.{i}.{layer}.{x}" for i in range(3) for layer in layers for x in ("weight", "bias")}
    assert {name.split(" ")[0] for name in report.fresh} == expected


@pytest.mark.parametrize(("name", "boxes"), [("mask_rcnn", 4), ("cascade_rcnn", 4)])
def test_one_class_alone(name, boxes):
    """Four offsets are a box for all classes or that of the only one, as the head has it."""
    state = {}
    for entry, tensor in published_state(published(name)).items():
        kept = {"fc_cls": 2, "fc_reg": boxes, "conv_logits": 1}.get(entry.split(".")[-2], len(tensor))
        state[entry] = tensor[:kept]
    backbone, head = built(name, classes=1)
    assert not load_model(backbone, head, state).fresh
    stage = head.roi_heads if name == "mask_rcnn" else head.cascade[0]
    theirs = state["roi_head.bbox_head.fc_reg.bias" if name == "mask_rcnn" else "roi_head.bbox_head.0.fc_reg.bias"]
    assert torch.equal(stage.box_predictor.bbox_pred.bias[-4:], theirs)
    assert len(stage.box_predictor.bbox_pred.bias) == (8 if name == "mask_rcnn" else 4)


def test_the_backbone_alone():
    state = published_state(published("retinanet"))
    alone, _ = built("retinanet")
    report = load_weights(alone, state)
    assert torch.equal(alone.stem.norm.bias, state["backbone.patch_embed.norm.bias"])
    assert {name.split(".")[0] for name in report.left_out} == {"head"}


def test_the_norm_of_a_map_that_the_pyramid_leaves_out():
    state = published_state(published("retinanet")) | {
        f"backbone.norm0.{x}": torch.ones(16) for x in ("weight", "bias")
    }
    report = load_model(*built("retinanet"), state)
    assert report.left_out == ["unused.backbone.norm0.weight", "unused.backbone.norm0.bias"]


def test_the_norm_of_the_last_map_belongs_to_the_head_where_that_has_one():
    state = {f"backbone.norm{i}.{x}": torch.full((2,), float(i)) for i in range(4) for x in ("weight", "bias")}
    state |= {name: torch.zeros(2, 1) for name in ("roi_head.bbox_head.fc_cls.weight", "rpn_head.rpn_conv.weight")}
    wanted = {f"head.pyramid.norms.norms.{i}.{x}": torch.ones(2) for i in range(4) for x in ("weight", "bias")}
    named = as_backbone_and_head(state, wanted)
    assert [float(named[f"head.pyramid.norms.norms.{i}.bias"][0]) for i in range(4)] == [0, 1, 2, 3]
    assert "backbone.norm.weight" in as_backbone_and_head(state, {})
    assert "backbone.norm.weight" not in named


@pytest.mark.parametrize("family", ["swin_tiny", "dinat_tiny"])
def test_a_backbone_under_its_own_projects_names(family):
    """The detectors of Swin's and DiNAT's repositories: mmdetection's heads around a backbone of other names."""
    heads = {n: x for n, x in published_state(published("mask_rcnn")).items() if not n.startswith("backbone.")}
    rows = [row for row in ROWS if family == "swin_tiny" or not row.startswith("mixers.")]
    torch.manual_seed(0)
    backbones = [visionattn.create_backbone(family, num_classes=0, overrides=rows) for _ in range(2)]
    theirs = {f"backbone.{n}": x.clone() for n, x in published_backbone(family, backbones[0]).items()}
    theirs |= {f"backbone.norm{i}.{x}": torch.rand(16 * 2**i) for i in range(3) for x in ("weight", "bias")}
    head = HEADS["mask_rcnn"](backbones[1].feature_info, 5, convention="openmmlab")
    report = load_model(backbones[1], head, theirs | heads)
    assert report.fresh == report.left_out == []
    for (name, loaded), wanted in zip(
        backbones[1].state_dict().items(), backbones[0].state_dict().values(), strict=True
    ):
        assert torch.equal(loaded, wanted), name
    assert torch.equal(head.pyramid.norms.norms[2].bias, theirs["backbone.norm2.bias"])
