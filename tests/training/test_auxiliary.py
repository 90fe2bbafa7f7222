"""Auxiliary losses of modules: added, logged, and the same with checkpointing, compilation, accumulation."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from visionattn.training import StepOutput, VisionTask, compiling
from visionattn.training.auxiliary import AuxiliaryLosses

WEIGHT = 0.5


class Router(nn.Module):
    """A module with a loss of its own: the mean square of its output."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self._loss = None

    def forward(self, x):
        y = self.linear(x)
        if self.training:
            self._loss = WEIGHT * y.square().mean()
        return x + y.tanh()

    def auxiliary_loss(self):
        loss, self._loss = self._loss, None
        return loss


class Backbone(nn.Module):
    """Two routers."""

    feature_info = [{"num_chs": 4, "reduction": 1, "module": "b"}]  # noqa: RUF012

    def __init__(self, checkpointing=False):
        super().__init__()
        self.a, self.b, self.checkpointing = Router(), Router(), checkpointing

    def forward_intermediates(self, x, **kwargs):
        if self.checkpointing and self.training:
            return [checkpoint(self.b, checkpoint(self.a, x, use_reentrant=False), use_reentrant=False)]
        return [self.b(self.a(x))]


class Head(nn.Module):
    """The mean."""

    def __init__(self, feature_info):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, features):
        return self.layer(features[0])


class Task(VisionTask):
    """The mean square of the head's output."""

    def step(self, batch):
        loss = self(batch["image"]).square().mean()
        return StepOutput(loss, parts={"square": loss})


def build(**options):
    torch.manual_seed(0)
    task = Task(Backbone(**options), Head, None, partial(torch.optim.SGD, lr=0.1), monitor="x")
    task.logged = {}
    task._is_logged = lambda: True
    task.log = lambda name, value, **_: task.logged.update({name: float(value)})
    task.log_dict = lambda values, **_: task.logged.update({name: float(value) for name, value in values.items()})
    return task.train()


def batches(count=2):
    generator = torch.Generator().manual_seed(1)
    return [{"image": torch.randn(3, 4, generator=generator), "id": list("abc")} for _ in range(count)]


def gradients(task, of=None):
    for one in of or batches():
        task.training_step(one, 0).backward()
    return [parameter.grad.clone() for parameter in task.parameters()]


def by_hand():
    task = build()
    for one in batches():
        x = one["image"]
        y = task.backbone.a.linear(x)
        x = x + y.tanh()
        z = task.backbone.b.linear(x)
        loss = task.head.layer(x + z.tanh()).square().mean()
        (loss + WEIGHT * y.square().mean() + WEIGHT * z.square().mean()).backward()
    return [parameter.grad.clone() for parameter in task.parameters()]


def test_they_are_added_and_logged():
    task = build()
    loss = float(task.training_step(batches()[0], 0).detach())
    assert loss == task.logged["train/loss"]
    assert loss == pytest.approx(task.logged["train/loss_square"] + task.logged["train/loss_auxiliary"])
    assert task.logged["train/loss_auxiliary"] > 0


@pytest.mark.parametrize("way", ["plain", "checkpointing", "compile"])
def test_gradients_over_two_batches_are_those_by_hand(way, monkeypatch):
    task = build(checkpointing=way == "checkpointing")
    if way == "compile":
        monkeypatch.setattr(compiling, "BACKEND", "eager")
        task._region = task.compiling.whole("all", task._uncompiled, evaluation=True)
    for found, expected in zip(gradients(task), by_hand(), strict=True):
        torch.testing.assert_close(found, expected)


def test_evaluation_has_none_and_leftovers_are_dropped():
    task = build()
    task(batches()[0]["image"])  # a forward pass outside a step leaves its losses
    for found, expected in zip(gradients(task), by_hand(), strict=True):
        torch.testing.assert_close(found, expected)
    task.eval()
    task(batches()[0]["image"])
    assert AuxiliaryLosses([task.backbone]).take() is None


def test_a_model_without_them_has_none():
    assert AuxiliaryLosses([nn.Linear(2, 2)]).sources == []
