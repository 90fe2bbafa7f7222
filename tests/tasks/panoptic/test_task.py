"""The panoptic task: it learns, it scores at the original size, and what it refuses."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from visionattn.backbones.cost import count_gmacs
from visionattn.data.classes import ClassInfo
from visionattn.data.detection import DetectionEvalTransform
from visionattn.data.detection.dataset import NormalizeAndPad
from visionattn.drawing.panoptic import draw_segments, segment_colors
from visionattn.errors import ConfigError, NonFiniteLossError

pytest.importorskip("transformers")
from visionattn.heads.panoptic import Mask2Former
from visionattn.tasks.panoptic import task as panoptic_task
from visionattn.tasks.panoptic.task import PanopticTask

SMALL = {"channels": 32, "num_queries": 8, "encoder_layers": 1, "decoder_layers": 2, "num_heads": 4}
SMALL |= {"encoder_width": 48, "decoder_width": 64, "num_points": 128}
INFO = ClassInfo(names=["box", "left", "right"], ids=[3, 92, 200], things=[True, False, False])


class Toy(nn.Module):
    """Any backbone: maps, what it says of them, nothing else."""

    def __init__(self):
        super().__init__()
        self.feature_info = [
            {"num_chs": dim, "reduction": stride, "module": name}
            for dim, stride, name in ((8, 2, "a"), (12, 4, "b"), (16, 8, "c"))
        ]
        self.a, self.b, self.c = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 12, 2, 2), nn.Conv2d(12, 16, 2, 2)

    def forward_intermediates(self, x, norm=False, intermediates_only=True):
        a = self.a(x).relu()
        b = self.b(a).relu()
        return [a, b, self.c(b).relu()]


def task(**options):
    torch.manual_seed(0)
    settings = {"num_classes": 3, "monitor": "val/PQ"}
    module = PanopticTask(
        Toy(), partial(Mask2Former, **SMALL), partial(torch.optim.AdamW, lr=3e-3), **(settings | options)
    )
    module.class_info = INFO
    return module


class Records:
    """Records without an annotation file's contents."""

    annotations = SimpleNamespace(image_ids=np.array([7, 8]))

    def ground_truth(self, image_ids, masks):
        return {}


def data(info=INFO):
    return SimpleNamespace(num_classes=3, evaluation_split="val", class_info=info, records=lambda split: Records())


def picture():
    """A bright box before two grounds, uint8 (3, 32, 32), and its three masks."""
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[0, 8:22, 10:24] = 1
    masks[1, :, :16], masks[2, :, 16:] = 1, 1
    masks[1:] &= 1 - masks[0]
    colors = np.array([[250, 240, 20], [30, 40, 200], [200, 30, 60]], np.uint8)
    return torch.from_numpy((masks[..., None] * colors[:, None, None]).sum(0).astype(np.uint8)).permute(2, 0, 1), masks


def batch(training=True):
    image, masks = picture()
    ids = torch.from_numpy((masks * np.arange(1, 4)[:, None, None]).sum(0).astype(np.int32))
    labels = torch.arange(3)
    target = {"labels": labels, "masks": torch.from_numpy(masks)}
    if not training:
        target = {"ids": ids, "labels": labels, "crowd": torch.zeros(3, dtype=torch.bool)}
    found = {"image": [image, image], "target": [target, target], "original": [(32, 32)] * 2, "image_id": [7, 8]}
    return NormalizeAndPad([0.5] * 3, [0.25] * 3)(found | {"id": ["a.jpg", "b.jpg"], "unreadable": []})


@pytest.fixture(scope="module")
def learnt():
    module = task(instance=True).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        loss = module.step(batch()).loss
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    return module.eval()


def test_it_learns_a_picture_and_scores_it(learnt, monkeypatch):
    monkeypatch.setattr(learnt, "_trainer", SimpleNamespace(datamodule=data()))
    quality, instances = learnt.evaluators["panoptic_quality"], learnt.evaluators["coco_instances"]
    for evaluator in (quality, instances):
        evaluator.setup(data())
    with torch.inference_mode():
        output = learnt.validation_step(batch(training=False), 0)
    answer = output.prediction[0]
    assert sorted(answer.segments.labels.tolist()) == [0, 1, 2]
    figures = quality.compute(data())
    assert figures["PQ"] == pytest.approx(figures["SQ"])
    assert figures["PQ"] > 75
    assert figures["RQ"] == figures["RQ_th"] == figures["RQ_st"] == 100
    assert instances.metric._image_ids == [7, 8]
    best = instances.metric._results[0]
    assert (best["image_id"], best["category_id"]) == (7, 3)
    assert best["bbox"] == pytest.approx([10, 8, 14, 14], abs=2)
    assert all(line["category_id"] == 3 for line in instances.metric._results)
    learnt.on_validation_epoch_start()
    assert instances.metric._results == []
    assert quality.quality.counts.sum() == 0


def test_it_answers_about_pictures_of_any_size(learnt):
    image = Image.fromarray(picture()[0].permute(1, 2, 0).numpy()).resize((50, 44))
    transforms = SimpleNamespace(
        eval_transform=DetectionEvalTransform(short_edge=32, long_edge=64),
        to_model_input=NormalizeAndPad([0.5] * 3, [0.25] * 3),
    )
    with torch.inference_mode():
        answer, other = learnt.predict_images([image, image.crop((0, 0, 30, 44))], transforms, {})
    assert answer.maps["panoptic"].size == (50, 44)
    assert other.maps["panoptic"].size == (30, 44)
    assert answer.draw().height == 13 * 44  # 640 pixels at least; a legend at its side
    numbers = np.asarray(answer.maps["panoptic"])[..., 0]
    assert {one["class"] for one in answer.record["segments"]} == set(INFO.names)
    for one in answer.record["segments"]:
        assert one["area"] == (numbers == one["id"]).sum()
        assert one["thing"] == (one["class"] == "box")
        assert one["score"] > 0.8


def test_instances_alone_are_drawn_with_their_boxes(learnt):
    module = task(panoptic=False, instance=True).eval()
    module.load_state_dict(learnt.state_dict())
    module.class_info = replace(INFO, things=None)
    transforms = SimpleNamespace(
        eval_transform=DetectionEvalTransform(short_edge=32, long_edge=64),
        to_model_input=NormalizeAndPad([0.5] * 3, [0.25] * 3),
    )
    image = Image.fromarray(picture()[0].permute(1, 2, 0).numpy())
    with torch.inference_mode():
        some, none = (module.predict_images([image], transforms, {"score": least})[0] for least in (0.5, 1.0))
    assert {one["class"] for one in some.record["objects"]} == set(INFO.names)
    assert none.record["objects"] == []


def test_the_number_of_masks_is_that_of_all_processes(monkeypatch):
    module = task().train()
    torch.manual_seed(3)
    alone = module.step(batch())
    monkeypatch.setattr(panoptic_task, "mean_of_processes", lambda number: torch.tensor(2.0 * number))
    torch.manual_seed(3)
    together = module.step(batch())
    assert together.parts["mask"].item() == pytest.approx(alone.parts["mask"].item() / 2, rel=1e-4)
    assert together.loss.item() == pytest.approx(sum(together.parts.values()).item())


def test_answers_that_are_not_finite_name_their_pictures(learnt):
    one = batch(training=False)
    one["image"] = one["image"].clone()
    one["image"][1, :, 3, 3] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"not finite. Images: b\.jpg"), torch.inference_mode():
        learnt.predict_segments(one)


def test_its_cost_can_be_counted():
    assert count_gmacs(task(), (3, 64, 64)) > 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="nothing to score"):
        task(panoptic=False)
    with pytest.raises(ConfigError, match="shares"):
        task(score=1.5)
    module = task()
    module._trainer = SimpleNamespace(datamodule=data(ClassInfo(names=["a"] * 3, ids=[1, 2, 3])))
    with pytest.raises(ConfigError, match="no panoptic targets: use data=coco_panoptic"):
        module.setup("fit")


def test_the_backbone_may_learn_more_slowly():
    groups = task(backbone_lr_scale=0.1).build_optimizer(10, 5, 2)["optimizer"].param_groups
    assert {group["lr_scale"] for group in groups} == {0.1, 1.0}


def test_segments_are_drawn_in_colors_of_their_class():
    colors = segment_colors([1, 0, 1])
    assert colors[0].tolist() == [0, 0, 0]
    assert len({tuple(one) for one in colors.tolist()}) == 4
    ids = np.zeros((20, 30), np.int64)
    ids[:, 10:20], ids[:, 20:] = 1, 2
    drawn = np.asarray(
        draw_segments(Image.new("RGB", (30, 20), (100, 150, 50)), ids, [0, 1], ["a", "b"], least_edge=60)
    )
    assert drawn.shape == (40, 60, 3)
    assert (drawn[:5, 19] == 255).all()  # the border
    assert (drawn[0, 5] == 50).all()  # gray where there is no segment
