"""Learning rates by step."""

import math

import pytest
import torch

from visionattn.training.schedule import constant, cosine


def rates(make, steps, **kwargs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer, total_steps=steps, **kwargs)
    seen = [optimizer.param_groups[0]["lr"]]
    for step in range(1, steps):
        schedule.step_update(step)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_cosine_warms_up_linearly_and_ends_at_the_minimum():
    seen = rates(cosine, 110, steps_per_epoch=5, warmup_epochs=2, warmup_lr=0.0, min_lr=0.1)
    assert seen[0] == 0.0
    assert seen[5] == pytest.approx(0.5)
    assert seen[10] == pytest.approx(1.0)
    assert seen[60] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert seen[-1] == pytest.approx(0.1, abs=1e-3)
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_the_warm_up_takes_at_most_half_of_a_short_run():
    seen = rates(cosine, 10, steps_per_epoch=5, warmup_epochs=5, warmup_lr=0.0, min_lr=0.0)
    assert max(seen) == seen[5] == pytest.approx(1.0)


def test_cooldown_and_a_warm_up_inside_the_cosine_are_timms():
    options = {"warmup_epochs": 2, "warmup_lr": 0.0, "min_lr": 0.1, "cooldown_epochs": 3, "warmup_prefix": False}
    seen = rates(cosine, 100, steps_per_epoch=5, **options)
    assert seen[5] == pytest.approx(0.5)
    assert seen[10] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 10 / 85)))
    assert seen[85:] == [pytest.approx(0.1)] * 15


def test_constant():
    seen = rates(constant, 20, steps_per_epoch=5, warmup_epochs=1, warmup_lr=0.0)
    assert seen[0] == 0.0
    assert seen[5:] == [1.0] * 15
