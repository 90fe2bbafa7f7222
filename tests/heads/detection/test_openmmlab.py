"""mmdetection's convention: what differs from torchvision, each by itself, and training in it."""

import math
from functools import partial

import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from tests.heads.detection.test_detectors import FEW, INFO, NARROW, RCNNS, SMALL, TARGETS, inputs
from visionattn.heads.detection import RCNN, Pyramid, RetinaNetDetector
from visionattn.heads.detection.openmmlab import AdaptiveAlign, Anchors, BoundedCoder, best_of_levels, suppress
from visionattn.heads.detection.paste_masks import paste_at_centers


def build(name):
    if name == "retinanet":
        return RetinaNetDetector(INFO, 3, pyramid=partial(SMALL, extra="p6p7", skip=1), convention="openmmlab")
    return RCNNS[name](INFO, 3, pyramid=SMALL, proposals=FEW, regions=NARROW, convention="openmmlab")


@pytest.mark.parametrize("name", [*RCNNS, "retinanet"])
def test_it_trains_with_and_without_objects(name):
    head = build(name).train()
    features, images = inputs()
    for targets in (TARGETS, [TARGETS[1]] * 2):
        loss = sum(head(features, images, targets).values())
        loss.backward()
        assert torch.isfinite(loss)
    assert not [n for n, p in head.named_parameters() if p.grad is None]


def test_another_convention_is_an_error():
    with pytest.raises(ValueError, match="convention is one of torchvision, openmmlab, got 'detectron'"):
        RCNN(INFO, 3, convention="detectron")


def test_anchors_are_unrounded_and_a_stride_apart():
    """Of a map of 13 rows of 64 pixels on an image of 800 rows, torchvision's would be 61 pixels apart."""
    anchors = Anchors(((512.0,),), ((0.5, 2.0),), (64,))
    images = ImageList(torch.zeros(2, 3, 800, 128), [(800, 128), (790, 100)])
    found = anchors(images, [torch.zeros(2, 8, 13, 2)])
    assert len(found) == 2
    boxes = found[0].view(13, 2, 2, 4)
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert torch.equal(center[3, 1, 0], torch.tensor([64.0, 192.0]))
    long, short = 512 * math.sqrt(2), 512 / math.sqrt(2)
    expected = torch.tensor([[long, short], [short, long]])
    torch.testing.assert_close(boxes[5, 0, :, 2:] - boxes[5, 0, :, :2], expected)


def test_sides_change_by_a_bounded_factor():
    boxes = torch.tensor([[10.0, 10, 110, 110]])
    coder = BoundedCoder((10.0, 10.0, 5.0, 5.0))
    offsets = torch.tensor([[0.0, 0, -1000, 1000, 1, 0, 0, 0]])
    found = coder.decode_single(offsets, boxes).view(2, 4)
    sides = found[:, 2:] - found[:, :2]
    torch.testing.assert_close(sides, torch.tensor([[1.6, 6250.0], [100, 100]]), rtol=1e-4, atol=1e-4)
    assert found[1].tolist() == [20, 10, 120, 110]


def test_regions_take_the_level_of_their_side_and_as_many_points_as_pixels():
    maps = {str(i): torch.randn(1, 2, 64 // 2**i, 64 // 2**i) for i in range(3)}
    sides = torch.tensor([0.0, 20, 111.9, 112.1, 223.9, 230, 900])
    boxes = torch.stack([torch.zeros(7), torch.zeros(7), sides, sides], 1)
    found = AdaptiveAlign((4, 8, 16), 7)(maps, [boxes], [(256, 256)])
    for i, level in enumerate([0, 0, 0, 1, 1, 2, 2]):
        expected = roi_align(maps[str(level)], [boxes[i : i + 1]], 7, 1 / (4 * 2**level), -1, aligned=True)
        assert torch.equal(found[i], expected[0])
    assert AdaptiveAlign((4, 8, 16), 7)(maps, [boxes[:0]], [(256, 256)]).shape == (0, 2, 7, 7)


def test_boxes_without_area_are_left_out_and_groups_do_not_suppress_each_other():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [50, 3, 90, 20]])
    levels = [(boxes, torch.tensor([0.5, 0.9, 0.4, 1.0]), torch.tensor([0, 0, 1, 1]))]
    kept, scores, groups = best_of_levels(levels, (30, 40), 0.7, 5)
    assert (kept.tolist(), groups.tolist()) == ([[0, 0, 10, 9]] * 2, [0, 1])
    assert scores.tolist() == pytest.approx([0.9, 0.4])
    assert suppress(boxes[:0], scores[:0], groups[:0], 0.5).tolist() == []


def test_no_relu_between_the_levels_on_top():
    torch.manual_seed(0)
    features, _ = inputs()
    for relu in (True, False):
        pyramid = Pyramid(INFO, 8, extra="p6p7_input", relu_on_top=relu)
        maps = list(pyramid(features).values())
        top = pyramid.fpn.extra_blocks
        p6 = top.p6(features[-1])
        torch.testing.assert_close(maps[-2], p6)
        torch.testing.assert_close(maps[-1], top.p7(p6.relu() if relu else p6))


def test_masks_are_sampled_at_the_centers_of_pixels():
    """A box between pixels: a full mask covers those whose center lies inside, one of no width none."""
    boxes = torch.tensor([[2.6, 1.4, 6.4, 4.6], [-3.0, -2, 20, 30], [30.0, 2, 40, 5]])
    pasted = paste_at_centers(torch.ones(3, 1, 28, 28), boxes, (8, 10))
    expected = torch.zeros(8, 10, dtype=torch.uint8)
    expected[1:5, 3:6] = 1
    assert torch.equal(pasted[0], expected)
    assert pasted[1].all()
    assert not pasted[2].any()
