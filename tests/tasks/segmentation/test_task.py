"""Segmentation: the loss, the two ways of looking at a picture, and scores that are those of a plain count."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.segmentation import MeanIoU

from visionattn.data.segmentation.labels import IGNORE
from visionattn.errors import ConfigError, DataError
from visionattn.heads.segmentation import FullyConvolutional, PixelLoss, SegmentationHead, UPerNet, inference
from visionattn.heads.segmentation.inference import Inference, class_map, starts
from visionattn.tasks.segmentation.metric import BoundaryIoU, DatasetIoU, figures, per_class
from visionattn.tasks.segmentation.task import SegmentationTask
from visionattn.training.schedule import poly

SIZES = [(9, 14), (20, 7), (16, 16), (11, 30), (5, 5), (23, 12), (8, 8)]


def pairs(seed=0, classes=6, sizes=SIZES):
    """Predicted and true class maps; class 4 never occurs, class 5 occurs and is never predicted."""
    random = np.random.RandomState(seed)
    said = [torch.from_numpy(random.choice([0, 1, 2, 3], size)) for size in sizes]
    true = [torch.from_numpy(random.choice([0, 1, 2, 3, 5, IGNORE], size)) for size in sizes]
    return said, true


def plain_count(said, true, classes=6):
    matrix = np.zeros((classes, classes), np.int64)
    for a, b in zip(said, true, strict=True):
        for p, t in zip(a.numpy().ravel(), b.numpy().ravel(), strict=True):
            if t != IGNORE:
                matrix[t, p] += 1
    return matrix


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_a_plain_confusion_matrix_to_the_last_digit():
    said, true = pairs()
    metric = DatasetIoU(6)
    metric.update(said[:3], true[:3])
    metric.update(said[3:], true[3:])
    shown = metric.compute()
    matrix = plain_count(said, true)
    assert (metric.latest.numpy() == matrix).all()
    right, rows, columns = np.diag(matrix).astype(float), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):
        iou, accuracy = 100 * right / (rows + columns - right), 100 * right / rows
    found = figures(metric.latest)
    assert float(found["mIoU"]) == np.nanmean(iou)
    assert float(found["mAcc"]) == np.nanmean(accuracy)
    assert float(found["aAcc"]) == 100 * right.sum() / matrix.sum()
    assert bool(found["IoU"][4].isnan())
    assert found["IoU"][5] == 0
    assert float(shown["mIoU"]) == pytest.approx(np.nanmean(iou), rel=1e-6)


def test_a_perfect_prediction_scores_100_and_a_shifted_one_does_not():
    _, true = pairs()
    perfect = [torch.where(one == IGNORE, 0, one) for one in true]
    metric = DatasetIoU(6)
    metric.update(perfect, true)
    assert {name: float(value) for name, value in metric.compute().items()} == dict.fromkeys(
        ("mIoU", "mAcc", "aAcc"), 100
    )
    metric.reset()
    metric.update([(one + 1) % 6 for one in perfect], true)
    assert float(metric.compute()["mIoU"]) == 0


def test_torchmetrics_mean_iou_is_another_quantity():
    said = [torch.zeros(4, 4, dtype=torch.int64), torch.ones(4, 4, dtype=torch.int64)]
    true = [torch.tensor([[0, 0, 0, 1]] * 4), torch.ones(4, 4, dtype=torch.int64)]
    metric, theirs = DatasetIoU(2), MeanIoU(2, input_format="index", include_background=True)
    metric.update(said, true)
    theirs.update(torch.stack(said), torch.stack(true))
    ours = float(metric.compute()["mIoU"])
    assert ours == pytest.approx(100 * (12 / 16 + 16 / 20) / 2)
    assert abs(ours - 100 * float(theirs.compute())) > 1


@pytest.mark.parametrize("world", [2, 3])
def test_the_counts_of_several_processes_add_up_to_those_of_one(world):
    said, true = pairs()
    parts = []
    for rank in range(world):
        metric, band = DatasetIoU(6), BoundaryIoU(6)
        for one in (metric, band):
            one.update(said[rank::world], true[rank::world])
            one.compute()
        parts.append((metric.latest, band.latest))
    alone = BoundaryIoU(6)
    alone.update(said, true)
    alone.compute()
    assert sum(matrix for matrix, _ in parts).tolist() == plain_count(said, true).tolist()
    assert sum(band for _, band in parts).tolist() == alone.latest.tolist()
    assert all(one.dtype == torch.int64 for part in parts for one in part)


def test_boundary_iou_looks_at_the_edges_alone():
    true = torch.zeros(40, 40, dtype=torch.int64)
    true[8:32, 8:32] = 1
    hollow = true.clone()
    hollow[16:24, 16:24] = 0  # far from every edge of class 1, but an edge itself
    metric = BoundaryIoU(2, ratio=0.05)  # 3 pixels
    metric.update([true], [true])
    assert float(metric.compute()["boundary_mIoU"]) == 100
    metric.reset()
    metric.update([hollow], [true])
    metric.compute()

    def band(mask):
        inner = mask.copy()
        for _ in range(3):
            padded = np.pad(inner, 1)
            views = [padded[i : i + 40, j : j + 40] for i in range(3) for j in range(3)]
            inner = np.logical_and.reduce(views)
        return mask & ~inner

    for label in (0, 1):
        a, b = band(hollow.numpy() == label), band(true.numpy() == label)
        assert metric.latest[:, label].tolist() == [(a & b).sum(), (a | b).sum()]
    assert per_class(metric.latest).max() < 100


# -- inference ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1)).eval()


def up(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@torch.no_grad()
def test_whole_pictures_go_through_their_base_size(network):
    images = [torch.randn(3, 40, 56), torch.randn(3, 64, 40), torch.randn(3, 40, 56)]
    rule = Inference(short_edge=48, long_edge=60)
    for image, scores in zip(images, rule(network, images), strict=True):
        factor = min(48 / min(image.shape[1:]), 60 / max(image.shape[1:]))
        size = [round(edge * factor) for edge in image.shape[1:]]
        seen = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)
        logits = up(network(seen), size)
        torch.testing.assert_close(scores, logits[0])
        assert (class_map(scores, image.shape[1:]) == up(logits, image.shape[1:])[0].argmax(0)).all()


@torch.no_grad()
def test_sliding_windows_are_averaged(network):
    image = torch.randn(3, 50, 70)
    rule = Inference("slide", crop=32, stride=(20, 24), short_edge=None, long_edge=None, window_batch=4)
    total, count = torch.zeros(5, 50, 70), torch.zeros(1, 50, 70)
    for top in (0, 18):
        for left in (0, 24, 38):
            total[:, top : top + 32, left : left + 32] += up(
                network(image[None, :, top : top + 32, left : left + 32]), 32
            )[0]
            count[:, top : top + 32, left : left + 32] += 1
    assert starts(50, 32, 20) == [0, 18]
    assert starts(70, 32, 24) == [0, 24, 38]
    torch.testing.assert_close(rule(network, [image])[0], total / count)
    one = torch.randn(3, 20, 28)  # smaller than a window: seen whole
    torch.testing.assert_close(rule(network, [one])[0], up(network(one[None]), (20, 28))[0])


@pytest.mark.parametrize(("edge", "window", "stride"), [(7, 7, 3), (8, 7, 3), (100, 32, 32), (97, 32, 21), (33, 32, 1)])
def test_windows_leave_no_gap(edge, window, stride):
    covered = {place for start in starts(edge, window, stride) for place in range(start, start + window)}
    assert covered == set(range(edge))


@torch.no_grad()
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_scales_and_flips_are_averaged_as_probabilities(network, mode):
    image = torch.randn(3, 36, 44)
    base = {"crop": 32, "stride": 20, "short_edge": None, "long_edge": None}
    scores = Inference(mode, scales=[0.75, 1.5], flip=True, **base)(network, [image])[0]
    total = 0
    for scale in (0.75, 1.5):
        for mirrored in (False, True):
            view = image.flip(-1) if mirrored else image
            size = [round(edge * scale) for edge in (36, 44)]
            seen = F.interpolate(view[None], size=size, mode="bilinear", antialias=True)
            logits = Inference(mode, **base)(network, [seen[0]])[0]
            part = up(logits[None], (36, 44))[0].softmax(0)
            total = total + (part.flip(-1) if mirrored else part)
    torch.testing.assert_close(scores.exp(), total / 4)


def test_class_maps_do_not_depend_on_the_chunks(monkeypatch):
    scores = torch.randn(23, 9, 11)
    scores[7] = scores[3]  # of equal scores the lower class
    whole = F.interpolate(scores[None], size=(31, 40), mode="bilinear")[0].argmax(0)
    for size in (4 * 31 * 40, 5 * 4 * 31 * 40, 2**30):
        monkeypatch.setattr(inference, "_CHUNK_BYTES", size)
        assert torch.equal(class_map(scores, (31, 40)), whole)


def test_senseless_inference_is_refused():
    for options, words in (
        ({"mode": "tiled"}, "whole, slide"),
        ({"mode": "slide", "stride": 600}, "leave gaps"),
        ({"scales": []}, "scales above 0"),
        ({"crop": [0, 4]}, "all positive"),
        ({"window_batch": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            Inference(**options)


# -- the task ----------------------------------------------------------------------------------------------------------


class Toy(nn.Module):
    """Any backbone: maps, what it says of them, nothing else."""

    def __init__(self):
        super().__init__()
        self.feature_info = [
            {"num_chs": 8, "reduction": 4, "module": "a"},
            {"num_chs": 12, "reduction": 8, "module": "b"},
        ]
        self.a, self.b = nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 12, 2, stride=2)

    def forward_intermediates(self, x, norm=False, intermediates_only=True):
        a = self.a(x).relu()
        return [a, self.b(a).relu()]


def task(backbone=None, **options):
    head = partial(
        SegmentationHead,
        decoder=partial(UPerNet, channels=16),
        auxiliary=partial(FullyConvolutional, channels=8),
    )
    settings = {"num_classes": 4, "monitor": "val/mIoU", "inference": Inference(short_edge=None, long_edge=None)}
    return SegmentationTask(backbone or Toy(), head, partial(torch.optim.AdamW, lr=1e-2), **(settings | options))


def batch(size=32, count=2):
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (count, size // 8, size // 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = F.one_hot(labels, 4)[..., :3].permute(0, 3, 1, 2).float() + 0.1 * torch.randn(count, 3, size, size)
    labels[:, :2] = IGNORE
    return {"image": images, "target": labels, "id": [str(i) for i in range(count)], "unreadable": [], "faults": []}


def test_the_loss_is_the_mean_over_all_pixels():
    logits, target = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 32, 32))
    target[:, :20] = IGNORE
    logs = up(logits, (32, 32)).log_softmax(1)
    chosen = logs.gather(1, target.clamp(max=3)[:, None])[:, 0]
    expected = -(chosen * (target != IGNORE)).sum() / target.numel()
    torch.testing.assert_close(PixelLoss()(logits, target), expected)
    assert float(PixelLoss()(logits, torch.full_like(target, IGNORE))) == 0


def test_classes_may_weigh_differently():
    logits, target = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    target[:, :3] = IGNORE
    weights = torch.tensor([1.0, 3.0, 0.0, 0.5])
    chosen = logits.log_softmax(1).gather(1, target.clamp(max=3)[:, None])[:, 0]
    share = torch.where(target == IGNORE, 0, weights[target.clamp(max=3)])
    torch.testing.assert_close(PixelLoss(weights.tolist())(logits, target), -(chosen * share).sum() / target.numel())
    assert not PixelLoss([1, 2]).state_dict()
    for wrong in ([1.0, 2.0], [1.0, 1.0, 1.0, -1.0]):
        with pytest.raises(ConfigError, match="class_weights are 4 numbers"):
            task(class_weights=wrong)


def test_a_backbone_of_any_kind_trains_and_learns():
    module = task().train()
    optimizer = module.build_optimizer(100, 10, 2)["optimizer"]
    losses = []
    for _ in range(15):
        output = module.step(batch())
        output.loss.backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.6 * losses[0]
    one = batch()
    with torch.no_grad():
        said = module.eval().step(one | {"image": list(one["image"]), "target": list(one["target"])})
    assert [tuple(classes.shape) for classes in said.prediction] == [(32, 32)] * 2
    counted = one["target"] != IGNORE
    assert (torch.stack(said.prediction) == one["target"])[counted].float().mean() > 0.6


def test_the_auxiliary_head_counts_in_training_only():
    module, one = task(auxiliary_weight=0.4), batch()
    module.train()
    torch.manual_seed(1)
    loss = module.step(one).loss.item()
    torch.manual_seed(1)
    logits, extra = module(one["image"])
    expected = module.loss(logits, one["target"]) + 0.4 * module.loss(extra, one["target"])
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_mask_that_cannot_be_right_stops_training_before_the_weights_change():
    module, one = task().train(), batch() | {"faults": ["a.png: unknown labels", "b.png: so do these"]}
    module._is_logged = lambda: False
    module.training_step(one, 0)
    with pytest.raises(DataError, match=r"a\.png: unknown labels \(and 1 more\)"):
        module.step_monitor.decide(None, stop=False)
    module.training_step(batch(), 1)
    module.step_monitor.decide(None, stop=False)  # told once


def test_a_mask_that_cannot_be_right_stops_a_validation():
    module = task().eval()
    module._trainer = SimpleNamespace(datamodule=SimpleNamespace(evaluation_split="val"), sanity_checking=False)
    module.on_validation_epoch_start()
    alone = {"image": [], "target": [], "id": [], "faults": ["a.png: unknown labels"]}
    assert module.validation_step(alone, 0) is None
    with pytest.raises(DataError, match=r"a\.png"):
        module.on_validation_epoch_end()


def test_a_wrong_stride_is_named():
    backbone = Toy()
    backbone.feature_info[1]["reduction"] = 16
    with pytest.raises(ValueError, match="b declares stride 16"):
        task(backbone)(torch.randn(2, 3, 32, 32))


def test_the_poly_schedule_is_a_line_in_steps_behind_its_warm_up():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=6e-5)
    schedule = poly(optimizer, total_steps=160_000, steps_per_epoch=float("inf"))
    for step, share in ((750, 0.5), (1500, 1 - 1500 / 160_000), (80_000, 0.5), (160_000, 0)):
        schedule.step_update(step)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(6e-5 * share, rel=1e-4, abs=1e-12)
