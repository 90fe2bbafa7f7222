"""Learning rates by step."""

import math
from functools import partial

import pytest
import torch

from visionattn.errors import ConfigError
from visionattn.training.schedule import check_settings, constant, cosine, notices, poly, steps


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


@pytest.mark.parametrize("make", [cosine, poly, partial(steps, milestones=[2, 4])])
def test_the_rate_never_rises_above_the_peak_nor_towards_the_minimum(make):
    low = {} if isinstance(make, partial) else {"min_lr": 5.0}
    seen = rates(make, 100, steps_per_epoch=5, warmup_lr=7.0, **low)
    assert max(seen) <= 1.0
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_lr": 5.0}, "schedule.min_lr=5 is above the peak rate 1"),
        ({"warmup_lr": 5.0}, "schedule.warmup_lr=5 is above"),
        ({"warmup_epochs": 20}, "the warm-up of 100 steps is cut to 25, half of this run's 50"),
        ({"warmup_steps": 30}, "the warm-up of 30 steps is cut to 25"),
        ({"milestones": [8, 11], "warmup_steps": 0}, "this run ends before epoch 11, so the rate"),
    ],
)
def test_what_a_run_cannot_follow_is_told(given, said):
    (notice,) = notices(given, peak=1.0, total_steps=50, steps_per_epoch=5)
    assert said in notice


def test_what_it_can_follow_is_not():
    given = {"min_lr": 0.1, "warmup_lr": 0.0, "warmup_epochs": 5, "milestones": [0.5, 8]}
    assert notices(given, peak=1.0, total_steps=50, steps_per_epoch=5) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"warmup_epochs": -2}, "schedule.warmup_epochs is a number from 0 on, not -2"),
        ({"min_lr": 5.0}, "schedule.min_lr=5 is above the peak rate optim.lr=1"),
    ],
)
def test_what_no_run_can_follow_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        check_settings(given, lr=1.0)


def test_a_rate_that_follows_the_batch_may_fall_below_the_least_one():
    check_settings({"min_lr": 5.0}, lr=None)
