"""Evaluators: metrics of torchmetrics, names of figures, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from visionattn.errors import ConfigError, DataError
from visionattn.training.evaluator import Evaluator, MetricEvaluator, first_of, named_evaluators
from visionattn.training.validation import ValidationEpoch

DATA = SimpleNamespace(num_classes=3)
LOGITS, TARGET = torch.eye(3)[[0, 1, 2, 2]], torch.tensor([0, 1, 2, 1])


class Counted(Evaluator):
    """An evaluator that counts images."""

    shown = ("images",)

    def __init__(self):
        self.reset()

    def reset(self):
        self.count = 0

    def update(self, prediction, batch):
        self.count += len(batch["id"])

    def compute(self, data):
        return {"images": float(self.count)}


def test_metrics_of_torchmetrics_are_evaluators():
    metrics = {"acc": MulticlassAccuracy(3, average="micro"), "f1": MulticlassF1Score(3, average="macro")}
    evaluator = MetricEvaluator(metrics, scale=100, shown=["acc"])
    for part in (slice(0, 1), slice(1, 4)):
        evaluator.update(LOGITS[part], {"target": TARGET[part]})
    figures = evaluator.compute(DATA)
    assert figures["acc"] == 75
    assert figures["f1"] == pytest.approx(100 * float(MulticlassF1Score(3, average="macro")(LOGITS, TARGET)))
    assert evaluator.latest == figures
    evaluator.reset()
    evaluator.update(LOGITS[3:], {"target": TARGET[3:]})
    assert evaluator.compute(DATA)["acc"] == 0


def test_images_of_different_sizes_are_compared_one_by_one():
    evaluator = MetricEvaluator({"acc": MulticlassAccuracy(3, average="micro")})
    maps = [torch.zeros(2, 3, dtype=torch.int64), torch.ones(4, 4, dtype=torch.int64)]
    evaluator.update(maps, {"target": [maps[0], 1 - maps[1]]})
    assert evaluator.compute(DATA)["acc"] == pytest.approx(6 / 22)


def test_a_configuration_may_hold_evaluators_metrics_and_nothing():
    counted = Counted()
    collection = MetricCollection({"a": MulticlassAccuracy(3, average="micro")})
    found = named_evaluators({"own": counted, "acc": MulticlassAccuracy(3), "both": collection, "none": None})
    assert list(found) == ["own", "acc", "both"]
    assert found["own"] is counted
    assert first_of(found.values(), MetricEvaluator) is found["acc"]
    assert first_of([counted], MetricEvaluator) is None
    found["both"].update(LOGITS, {"target": TARGET})
    assert len(found["both"].compute(DATA)) == 1


def test_anything_else_is_refused():
    with pytest.raises(ConfigError, match=r"task\.evaluators\.x is a int, neither an Evaluator nor"):
        named_evaluators({"x": 3})
    evaluator = MetricEvaluator({"acc": MulticlassAccuracy(3, average=None)})
    evaluator.update(LOGITS, {"target": TARGET})
    with pytest.raises(ConfigError, match="the metric acc gives 3 values; choose an average"):
        evaluator.compute(DATA)


def batch(*ids):
    return {"id": list(ids)}


def test_an_epoch_gives_loss_figures_and_what_is_shown():
    epoch = ValidationEpoch({"one": Counted(), "two": Counted()})
    epoch.reset()
    epoch.add(torch.tensor(1.0), None, batch("a"))
    epoch.add(torch.tensor(4.0), None, batch("b", "c"))
    assert float(epoch.loss()) == 3
    assert list(epoch.figures(DATA)) == [("images", 3.0, True), ("two_images", 3.0, True)]
    epoch.reset()
    assert epoch.loss() is None
    assert next(epoch.figures(DATA))[1] == 0


def test_an_epoch_without_losses_has_none():
    epoch = ValidationEpoch({"mean": MetricEvaluator({"m": MeanMetric()})})
    epoch.evaluators["mean"].update(torch.ones(2), {"target": torch.ones(2)})
    epoch.reset()
    epoch.add(None, torch.tensor([2.0]), {"id": ["a"], "target": torch.ones(1)})
    assert epoch.loss() is None
    assert list(epoch.figures(DATA)) == [("m", 2.0, False)]


def test_faults_and_unreadable_images_are_agreed_on():
    epoch = ValidationEpoch({})
    epoch.note([("x.jpg", "empty")], [])
    assert epoch.agree() == [("x.jpg", "empty")]
    epoch.note([], ["y.png: a label that stands for nothing"])
    with pytest.raises(DataError, match=r"y\.png"):
        epoch.agree()
