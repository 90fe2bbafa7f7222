"""The detection task without a trainer: bad input has a name, batches without objects train, sizes come back."""

from functools import partial

import pytest
import torch
from PIL import Image
from torchvision.models.detection.roi_heads import paste_masks_in_image

import visionattn
from visionattn.backbones.cost import count_gmacs, count_parameters
from visionattn.data.classes import ClassInfo
from visionattn.data.detection.dataset import NormalizeAndPad
from visionattn.errors import NonFiniteLossError
from visionattn.heads.detection import RCNN, ProposalNetwork, Pyramid, RegionHeads
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks import DetectionTask
from visionattn.tasks.detection.metric import detection_results

HEAD = partial(
    RCNN,
    pyramid=partial(Pyramid, channels=16),
    proposals=partial(ProposalNetwork, after_nms=(20, 10), anchor_scale=4, sampled=32),
    regions=partial(RegionHeads, width=16, mask_channels=16, sampled=8, score_threshold=0.0),
)


def build():
    task = DetectionTask(
        visionattn.create_backbone("swin_pico", num_classes=0),
        HEAD,
        partial(torch.optim.AdamW, lr=1e-3),
        num_classes=3,
        monitor="val/box_ap",
    )
    task.class_info = ClassInfo(names=["a", "b", "c"], ids=[2, 5, 9])
    return task


def batch(objects=1):
    masks = torch.zeros(objects, 40, 64, dtype=torch.uint8)
    masks[:, 5:30, 10:40] = 1
    boxes = torch.tensor([[10.0, 5, 40, 30]])[:objects].reshape(-1, 4)
    target = {"boxes": boxes, "labels": torch.ones(objects, dtype=torch.int64), "masks": masks}
    images = [
        torch.randint(0, 256, (3, 40, 64), dtype=torch.uint8),
        torch.randint(0, 256, (3, 64, 50), dtype=torch.uint8),
    ]
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 64, 50)}
    facts = {"id": ["x.jpg", "y.jpg"], "image_id": [4, 7], "original": [(80, 128), (64, 50)]}
    return NormalizeAndPad([0.5] * 3, [0.25] * 3)({"image": images, "target": [target, empty], **facts})


@pytest.mark.parametrize("objects", [0, 1])
def test_a_batch_with_and_without_objects_trains(objects):
    output = build().train().step(batch(objects))
    output.loss.backward()
    assert torch.isfinite(output.loss)


def test_a_picture_that_is_not_finite_is_named():
    broken = batch()
    broken["image"][1, :, 3, 3] = float("nan")
    task = build().eval()
    with pytest.raises(NonFiniteLossError, match=r"not finite.*Images: y.jpg"), torch.no_grad():
        task.detect(broken)
    loss = build().train().step(broken).loss
    assert not torch.isfinite(loss)  # which the guard of every task stops at, before the weights change


def test_boxes_and_masks_come_back_in_the_pictures_own_size():
    task = build().eval()
    with torch.no_grad():
        found = task.detect(batch())
        lines = detection_results(found, [4, 7], [(80, 128), (64, 50)], task.class_info.ids)
    assert {line["image_id"] for line in lines} == {4, 7}
    assert {line["category_id"] for line in lines} <= {2, 5, 9}
    assert max(line["bbox"][0] + line["bbox"][2] for line in lines if line["image_id"] == 4) > 64
    for line in lines:
        assert line["segmentation"]["size"] == ([80, 128] if line["image_id"] == 4 else [64, 50])


def test_pasted_masks_are_torchvisions():
    torch.manual_seed(2)
    corners = torch.rand(12, 2) * 50 - 8
    boxes = torch.cat([corners, corners + torch.rand(12, 2) * 40], 1)
    masks = torch.rand(12, 1, 28, 28)
    expected = paste_masks_in_image(masks, boxes, (48, 64))[:, 0] > 0.5
    assert torch.equal(paste_masks(masks, boxes, (48, 64)).bool(), expected)
    assert paste_masks(masks[:0], boxes[:0], (48, 64)).shape == (0, 48, 64)


def test_predictions_for_pictures_of_any_size():
    class Data:
        to_model_input = NormalizeAndPad([0.5] * 3, [0.25] * 3)

        @staticmethod
        def eval_transform(picture):
            return torch.nn.functional.interpolate(picture[None].float(), size=(48, 40))[0].to(torch.uint8)

    images = [Image.new("RGB", (90, 60), (200, 30, 30)), Image.new("RGB", (33, 71))]
    with torch.no_grad():
        answers = build().eval().predict_images(images, Data(), {"score": 0.0})
    assert [answer.draw().size for answer in answers] == [(8 * 90, 8 * 60), (10 * 33, 10 * 71)]  # 640 pixels at least
    assert [len(answer.rows) for answer in answers] == [sum(answer.counts.values()) for answer in answers]
    assert all(found["class"] in "abc" for answer in answers for found in answer.record["objects"])


@pytest.mark.parametrize(
    ("head", "millions", "gigas"),
    [
        ("mask_rcnn", 47.8, 267),
        ("cascade_mask_rcnn", 84.7, 745),
        ("cascade_mask_rcnn head.class_agnostic=false", 85.6, 745),
        ("retinanet", 38.5, 248),
    ],
)
def test_swin_tinys_published_size_and_cost(head, millions, gigas):
    """Liu et al. 2021, arXiv 2103.14030, table 2: 48 M and 267 G, 86 M and 745 G (with a box for each class in each
    stage). RetinaNet has 38.5 M in DaViT's repository, on a backbone as large.
    """
    from visionattn import config

    words = ["backbone=swin_tiny", *f"head={head}".split(), "task=detection", "data=coco", "data.root=x"]
    words += ["data.num_classes=80", "backbone.drop_path_rate=0.2"]
    cfg = config.compose("train", words)
    task = config.instantiate(cfg.task)
    assert round((count_parameters(task.backbone) + count_parameters(task.head)) / 1e6, 1) == millions
    assert count_gmacs(task, (3, 800, 1280)) == pytest.approx(gigas, rel=0.003)
