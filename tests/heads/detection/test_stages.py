"""Losses and boxes of a stage: GIoU, a box per class, both computed once more by hand."""

from functools import partial

import pytest
import torch
from torchvision.ops import generalized_box_iou

from tests.heads.detection.test_detectors import FEW, INFO, NAMES, NARROW, RCNNS, SMALL, TARGETS, decode, inputs
from tests.heads.detection.test_detectors import build as build_any
from visionattn.heads.detection import RCNN, CascadeRCNN, RegionHeads
from visionattn.heads.detection import stages as stages_module
from visionattn.heads.detection.stages import box_loss, predicted_class, select_class, subsample


def build(detector=CascadeRCNN, box="giou", **kwargs):
    return detector(INFO, 3, pyramid=SMALL, proposals=FEW, regions=partial(NARROW, box_loss=box), **kwargs)


def test_an_unknown_loss_is_an_error():
    with pytest.raises(ValueError, match="box_loss is one of smooth_l1, giou, got 'iou'"):
        RegionHeads(8, 1, 3, box_loss="iou")


def test_giou_of_the_boxes_of_the_true_classes():
    stage = RegionHeads(8, 1, 3, box_loss="giou", box_weights=(20.0, 20.0, 10.0, 10.0))
    boxes = [torch.tensor([[4.0, 4, 20, 24], [10, 2, 40, 30]]), torch.tensor([[0.0, 0, 9, 9]])]
    truth = [torch.tensor([[5.0, 6, 22, 22], [0, 0, 1, 1]]), torch.tensor([[1.0, 0, 8, 12]])]
    labels, offsets = torch.tensor([2, 0, 1]), torch.randn(3, 16)
    expected = 0.0
    for i, place in ((0, (0, 0)), (2, (1, 0))):
        own = offsets[i, 4 * labels[i] : 4 * labels[i] + 4][None]
        moved = decode(boxes[place[0]][place[1]][None], own, (20, 20, 10, 10))
        expected += 10 * (1 - generalized_box_iou(moved, truth[place[0]][place[1]][None])).sum() / 3
    torch.testing.assert_close(box_loss(stage, offsets, boxes, truth, labels), expected)


@pytest.mark.parametrize("detector", [RCNN, partial(CascadeRCNN, class_agnostic=False), CascadeRCNN])
@pytest.mark.parametrize("targets", [TARGETS, [TARGETS[1]] * 2])
def test_giou_trains_with_and_without_objects(detector, targets):
    head = build(detector).train()
    features, images = inputs()
    loss = sum(head(features, images, targets).values())
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())


def test_masks_are_learnt_on_some_of_the_objects(monkeypatch):
    places = torch.tensor([3, 5, 8, 9])
    assert subsample(places, None) is places
    assert subsample(places, 4) is places
    picked = [frozenset(subsample(places, 2).tolist()) for _ in range(40)]
    assert all(len(one) == 2 and one <= {3, 5, 8, 9} for one in picked)
    assert len(set(picked)) > 2
    with pytest.raises(ValueError, match="mask_sampled is at least 1"):
        RegionHeads(8, 1, 3, mask_sampled=0)
    sizes, original = [], stages_module.mask_logits

    def watch(stage, maps, boxes, image_sizes):
        sizes.append([len(b) for b in boxes])
        return original(stage, maps, boxes, image_sizes)

    monkeypatch.setattr(stages_module, "mask_logits", watch)
    head = RCNN(INFO, 3, pyramid=SMALL, proposals=FEW, regions=partial(NARROW, mask_sampled=1)).train()
    features, images = inputs()
    assert torch.isfinite(sum(head(features, images, TARGETS).values()))
    assert sizes == [[1, 0]]


def test_the_box_of_the_likeliest_class_goes_on_and_never_that_of_the_background():
    logits = torch.tensor([[9.0, 1, 2, 0], [9, 4, 2, 0], [0, 0, 0, 5]])
    assert predicted_class(logits).tolist() == [2, 1, 3]
    assert predicted_class(logits, torch.tensor([0, 3, 1])).tolist() == [2, 3, 1]
    offsets = torch.arange(48.0).view(3, 16)
    assert select_class(offsets, torch.tensor([2, 1, 3])).tolist() == [
        [8.0, 9, 10, 11],
        [20.0, 21, 22, 23],
        [44.0, 45, 46, 47],
    ]
    assert select_class(offsets[:, :4], torch.tensor([2, 1, 3])) is not None


def test_a_cascade_with_a_box_per_class_detects_as_a_plain_computation_says():
    torch.manual_seed(3)
    head = build(class_agnostic=False, masks=False).eval()
    for stage in head.cascade:
        stage.box_predictor.bbox_pred.weight.data.mul_(5)
    features, images = inputs(batch=1)
    with torch.no_grad():
        found = head(features, images)[0]
        maps = head.pyramid(features)
        boxes, scores = head.rpn(images, maps)[0][0], []
        for stage, weights in zip(head.cascade, [(10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)], strict=True):
            x = stage.box_head(stage.box_roi_pool(maps, [boxes], [(64, 64)]))
            logits, offsets = stage.box_predictor(x)
            scores.append(logits.softmax(-1))
            each = torch.stack([decode(boxes, offsets[:, 4 * k : 4 * k + 4], weights).clamp(0, 64) for k in range(4)])
            best = logits[:, 1:].argmax(1) + 1
            boxes = each[best, torch.arange(len(boxes))]
        scores = torch.stack(scores).mean(0)
    assert len(found["boxes"]) == 10
    for box, score, label in zip(found["boxes"], found["scores"], found["labels"], strict=True):
        same = (each[label + 1] - box).abs().amax(1) < 1e-3
        assert same.any()
        assert (scores[same, label + 1] - score).abs().min() < 1e-5


def test_in_training_the_box_of_the_true_class_goes_on(monkeypatch):
    head, seen = build(class_agnostic=False, masks=False).train(), []
    original = stages_module.refine

    def watch(stage, boxes, offsets, labels, sizes):
        seen.append((torch.cat(boxes), labels))
        return original(stage, boxes, offsets, labels, sizes)

    monkeypatch.setattr(stages_module, "refine", watch)
    features, images = inputs()
    head(features, images, TARGETS)
    assert len(seen) == 3
    for boxes, labels in seen:
        assert (labels > 0).all()
        for box, label in zip(TARGETS[0]["boxes"], TARGETS[0]["labels"], strict=True):
            assert (labels[(boxes == box).all(1)] == label + 1).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_box_that_is_no_number_makes_the_loss_none(name, value):
    """And reads nothing outside the maps on its way: with one map only, every region is taken from it."""
    broken = [{**TARGETS[0], "boxes": TARGETS[0]["boxes"].clone()}, TARGETS[1]]
    broken[0]["boxes"][1, 2] = value
    features, images = inputs()
    with_levels = build_any(name).train()
    assert not torch.isfinite(sum(with_levels(features, images, broken).values()))
    if name in RCNNS:
        one = partial(SMALL, extra="none")
        alone = RCNNS[name](INFO[:1], 3, pyramid=one, proposals=FEW, regions=NARROW).train()
        assert not torch.isfinite(sum(alone(features[:1], images, broken).values()))
