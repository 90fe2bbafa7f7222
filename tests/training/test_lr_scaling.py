"""The learning rate follows the batch."""

from functools import partial

import pytest
import torch

from visionattn.cli import main
from visionattn.training.lr_scaling import LearningRateScaling
from visionattn.training.task import VisionTask


@pytest.mark.parametrize(
    ("base", "rule", "expected", "text"),
    [
        (None, "linear", 1e-3, "0.001"),
        (512, "linear", 4e-3, "0.004 = 0.001 x 2048 / 512"),
        (512, "sqrt", 2e-3, "0.002 = 0.001 x sqrt(2048 / 512)"),
    ],
)
def test_rules(base, rule, expected, text):
    scaling = LearningRateScaling(base, rule)
    assert scaling(1e-3, 2048) == pytest.approx(expected)
    assert scaling.describe(1e-3, 2048) == text


@pytest.mark.parametrize(("base", "rule", "message"), [(0, "linear", "at least one"), (8, "cubic", "linear, sqrt")])
def test_impossible_rules_are_refused(base, rule, message):
    with pytest.raises(ValueError, match=message):
        LearningRateScaling(base, rule)


def test_the_command_prints_batch_and_rate(capsys):
    options = ["trainer=ddp", "trainer.devices=8", "trainer.num_nodes=4", "trainer.accelerator=cpu"]
    scaled = ["data.batch_size=32", "trainer.accumulate_grad_batches=2", "task.lr_base_size=512", "optim.lr=1e-3"]
    assert main(["train", "backbone=swin_pico", *options, *scaled, "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2048 (32 per process, 32 processes, 2 accumulated steps)" in shown
    assert "0.004 = 0.001 x 2048 / 512" in shown


def test_the_optimizer_gets_the_scaled_rate():
    def model() -> torch.nn.Module:
        backbone = torch.nn.Linear(2, 2)
        backbone.feature_info, backbone.forward_intermediates = [], None  # type: ignore[assignment]
        return backbone

    class Task(VisionTask):
        def step(self, batch):
            raise NotImplementedError

    optimizer = partial(torch.optim.SGD, lr=1e-3)
    head = lambda feature_info: torch.nn.Linear(2, 2)  # noqa: E731
    task = Task(model(), head, None, optimizer, monitor="val/x", lr_base_size=16)
    built = task.build_optimizer(total_steps=100, steps_per_epoch=10, batch=64)["optimizer"]
    assert {group["lr"] for group in built.param_groups} == {4e-3}


def test_a_rate_that_is_not_given_cannot_be_scaled(capsys):
    assert main(["train", "optim=timm", "optim.lr=null", "task.lr_base_size=64", "--dry-run"]) == 2
    assert "none is given" in capsys.readouterr().err
