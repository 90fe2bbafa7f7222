"""The detectors: torchvision's numbers with torchvision's weights, the cascade computed once more, bad features."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from visionattn.benchmarks.torchvision_baseline import mask_rcnn_like
from visionattn.errors import NonFiniteLossError
from visionattn.heads.detection import (
    RCNN,
    CascadeRCNN,
    FCOSDetector,
    ProposalNetwork,
    Pyramid,
    RegionHeads,
    RetinaNetDetector,
)
from visionattn.heads.detection import stages as stages_module

INFO = [{"num_chs": 8 * 2**i, "reduction": 4 * 2**i, "module": f"stages.{i}"} for i in range(3)]
SMALL = partial(Pyramid, channels=32)
FEW = partial(ProposalNetwork, before_nms=(60, 40), after_nms=(40, 20), sampled=32)
NARROW = partial(RegionHeads, width=24, mask_channels=16, sampled=16, per_image=10)
RCNNS = {
    "faster": partial(RCNN, masks=False),
    "mask": RCNN,
    "cascade": partial(CascadeRCNN, masks=False),
    "cascade_mask": CascadeRCNN,
}
DENSE = {"retinanet": RetinaNetDetector, "fcos": FCOSDetector}
NAMES = [*RCNNS, *DENSE]


def build(name, info=INFO, **kwargs):
    if name in RCNNS:
        return RCNNS[name](info, 3, pyramid=SMALL, proposals=FEW, regions=partial(NARROW, **kwargs))
    return DENSE[name](info, 3, pyramid=partial(SMALL, extra="p6p7", skip=1))


def inputs(batch=2):
    images = ImageList(torch.zeros(batch, 3, 64, 64), [(64, 64), (48, 60)][:batch])
    features = [torch.randn(batch, i["num_chs"], 64 // i["reduction"], 64 // i["reduction"]) for i in INFO]
    return features, images


def target(boxes, labels):
    masks = torch.zeros(len(boxes), 64, 64, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "labels": torch.tensor(labels).long(), "masks": masks}


TARGETS = [target([[4, 4, 30, 28], [20, 30, 50, 60]], [0, 2]), target([], [])]


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    few = {"rpn_post_nms_top_n_test": 60, "rpn_post_nms_top_n_train": 60, "box_batch_size_per_image": 32}
    few |= {"min_size": 96, "max_size": 160, "box_detections_per_img": 30}
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5, **few)
    model.roi_heads.box_predictor.cls_score.weight.data.mul_(40)  # so that some classes pass the threshold
    return model


def twin(model):
    proposals = partial(ProposalNetwork, after_nms=(60, 60))
    return mask_rcnn_like(model, 4, proposals=proposals, regions=partial(RegionHeads, sampled=32, per_image=30))


def test_torchvisions_detections_bit_by_bit(reference):
    maps, head = twin(reference.eval())
    pictures = [torch.rand(3, 90, 120), torch.rand(3, 110, 70)]
    with torch.no_grad():
        expected = reference(pictures)
        images, _ = reference.transform(pictures)
        found = head.eval()(maps.eval().forward_intermediates(images.tensors), images)
        found = reference.transform.postprocess(found, images.image_sizes, [(90, 120), (110, 70)])
    assert sum(len(e["boxes"]) for e in expected) > 20
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours["labels"] + 1, theirs["labels"])
        for key in ("boxes", "scores", "masks"):
            assert torch.equal(ours[key], theirs[key]), key


def test_torchvisions_losses_bit_by_bit(reference):
    maps, head = twin(reference.train())
    masks = torch.zeros(1, 96, 96, dtype=torch.uint8)
    masks[:, 10:60, 20:70] = 1
    wanted = [{"boxes": torch.tensor([[20.0, 10.0, 70.0, 60.0]]), "labels": torch.tensor([3]), "masks": masks}]
    picture = torch.rand(3, 96, 96)
    torch.manual_seed(5)
    expected = reference([picture], wanted)
    torch.manual_seed(5)
    images, scaled = reference.transform([picture], wanted)
    scaled[0]["labels"] = scaled[0]["labels"] - 1
    found = head.train()(maps.train().forward_intermediates(images.tensors), images, scaled)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_and_reach_every_parameter(name):
    head = build(name).train()
    features, images = inputs()
    loss = sum(head(features, images, TARGETS).values())
    loss.backward()
    assert torch.isfinite(loss)
    missing = [n for n, p in head.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_any_object_trains(name):
    features, images = inputs()
    losses = build(name).train()(features, images, [TARGETS[1], TARGETS[1]])
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)


@pytest.mark.parametrize("name", NAMES)
def test_detections_are_sorted_labelled_and_inside_their_images(name):
    head = build(name).eval()
    features, images = inputs()
    with torch.no_grad():
        found = head(features, images)
    for one, (height, width) in zip(found, images.image_sizes, strict=True):
        assert one["boxes"].shape == (len(one["scores"]), 4)
        assert set(one["labels"].tolist()) <= {0, 1, 2}
        assert (one["scores"].diff() <= 0).all()
        assert (one["boxes"] >= 0).all()
        assert (one["boxes"][:, 2] <= width).all()
        assert (one["boxes"][:, 3] <= height).all()
        assert ("masks" in one) == head.has_masks


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_has_a_name_outside_training(name):
    features, images = inputs()
    features[-1][0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteLossError, match="of the detector are not finite"), torch.no_grad():
        build(name).eval()(features, images)


def test_four_convolutions_and_one_layer():
    head = build("cascade_mask", box_head="4conv1fc").train()
    assert len(head.cascade) == 3
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in head.modules()) == 12
    features, images = inputs()
    assert torch.isfinite(sum(head(features, images, TARGETS).values()))


def test_a_stride_that_does_not_double_is_named():
    info = [dict(i) for i in INFO]
    info[2]["reduction"] = 32
    with pytest.raises(ValueError, match=r"stages.2 has stride 32 after 8"):
        build("mask", info)


def test_maps_with_other_channels_are_named():
    features, images = inputs()
    features[1] = features[1][:, :5]
    with pytest.raises(ValueError, match=r"stages.1 declares 16 channels"):
        build("mask").train()(features, images, TARGETS)


# -- the cascade, computed once more from the paper -----------------------------------------------------------------


def decode(boxes, offsets, weights):
    """Offsets (N, 4) to boxes, as Faster R-CNN defines them."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    dx, dy, dw, dh = (offsets / torch.tensor(weights)).unbind(1)
    x, y, w, h = x + dx * w, y + dy * h, w * dw.exp(), h * dh.exp()
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)


def test_the_stages_detect_as_a_plain_computation_says():
    head = build("cascade").eval()
    for stage in head.cascade:
        stage.box_predictor.bbox_pred.weight.data.mul_(5)
    features, images = inputs(batch=1)
    with torch.no_grad():
        found = head(features, images)[0]
        maps = head.pyramid(features)
        boxes, scores = head.rpn(images, maps)[0][0], []
        for stage, weights in zip(head.cascade, [(10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)], strict=True):
            x = stage.box_head(stage.box_roi_pool(maps, [boxes], [(64, 64)]))
            scores.append(F.softmax(stage.box_predictor.cls_score(x), -1))
            boxes = decode(boxes, stage.box_predictor.bbox_pred(x), weights).clamp(0, 64)
        scores = torch.stack(scores).mean(0)
        for box, score, label in zip(found["boxes"], found["scores"], found["labels"], strict=True):
            same = (boxes - box).abs().amax(1) < 1e-3
            assert same.any()
            assert (scores[same, label + 1] - score).abs().min() < 1e-5
        for label in range(3):
            one_class = found["boxes"][found["labels"] == label]
            overlaps = box_iou(one_class, one_class) - torch.eye(len(one_class))
            assert not len(one_class) or overlaps.max() <= 0.5
    assert len(found["boxes"]) == 10


def test_each_stage_trains_on_the_refined_boxes_with_its_own_overlap(monkeypatch):
    head = build("cascade").train()
    seen = []
    original = stages_module.sample

    def watch(stage, boxes, targets):
        samples = original(stage, boxes, targets)
        seen.append((stage, [b.clone() for b in boxes], samples))
        return samples

    monkeypatch.setattr(stages_module, "sample", watch)
    features, images = inputs()
    head(features, images, TARGETS)
    truth = TARGETS[0]["boxes"]
    assert len(seen) == 3
    for (stage, boxes, samples), overlap in zip(seen, (0.5, 0.6, 0.7), strict=True):
        assert stage is head.cascade[seen.index((stage, boxes, samples))]
        first = samples[0]
        best, which = box_iou(first["boxes"], truth).max(1)
        expected = torch.where(best >= overlap, TARGETS[0]["labels"][which] + 1, 0)
        assert torch.equal(first["labels"], expected)
        assert first["true"].sum() <= 2
        assert not samples[1]["labels"].any()
    before, after = seen[0], seen[1]
    kept = before[2][0]["boxes"][~before[2][0]["true"]]
    assert len(after[1][0]) <= len(kept)
    assert len(after[1][0]) > 0
