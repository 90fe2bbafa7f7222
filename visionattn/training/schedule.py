"""Learning-rate schedules by step, on timm's schedulers. The task completes them with what only it knows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler, PolyLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from visionattn.errors import ConfigError


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: float,
    warmup_epochs: float = 5,
    warmup_lr: float = 1e-6,
    min_lr: float = 1e-5,
    cooldown_epochs: float = 0,
    warmup_prefix: bool = True,
) -> Scheduler:
    """Linear warm-up, then half a cosine down to ``min_lr`` (Loshchilov and Hutter 2016, arXiv 1608.03983).

    Args:
        optimizer: its groups' ``lr`` is the peak; a group's ``lr_scale`` multiplies whatever the schedule says.
        total_steps: optimizer steps of the whole run, warm-up included.
        steps_per_epoch: optimizer steps per epoch.
        warmup_epochs: length of the warm-up in epochs, at most half of the run.
        warmup_lr: rate of the first step.
        min_lr: rate of the last step; where it is above the peak, the rate stays at the peak.
        cooldown_epochs: epochs at ``min_lr`` behind the cosine, at most a quarter of the run.
        warmup_prefix: the cosine starts behind the warm-up (Swin's code); else it runs from step 0 and the warm-up
            takes the place of its beginning (timm's training script).
    """
    warmup = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    falling = total_steps - min(round(cooldown_epochs * steps_per_epoch), total_steps // 4)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(falling - warmup * warmup_prefix, 2),
        lr_min=min(min_lr, peak_of(optimizer)),
        warmup_t=warmup,
        warmup_lr_init=min(warmup_lr, peak_of(optimizer)),
        warmup_prefix=warmup_prefix,
        t_in_epochs=False,
    )


def constant(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: float,
    warmup_epochs: float = 0,
    warmup_lr: float = 1e-6,
) -> Scheduler:
    """The same rate throughout, after a linear warm-up. Arguments as for :func:`cosine`."""
    warmup = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    return StepLRScheduler(
        optimizer,
        decay_t=total_steps + 1,
        decay_rate=1.0,
        warmup_t=warmup,
        warmup_lr_init=min(warmup_lr, peak_of(optimizer)),
        t_in_epochs=False,
    )


def peak_of(optimizer: Optimizer) -> float:
    """The rate that a schedule rises to: that of a group whose ``lr_scale`` is 1."""
    return max(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)


def settings_of(schedule: Any) -> Mapping[str, Any]:
    """The settings of a schedule that waits for its optimizer; empty where it does not tell."""
    return getattr(schedule, "keywords", {})


def check_settings(given: Mapping[str, Any], lr: float | None) -> None:
    """Refuse settings that no run can follow.

    Args:
        given: the settings, by the names of this file's functions.
        lr: the peak rate; None: it depends on the batch, and a least rate above it is told, not refused.

    Raises:
        ConfigError: a negative number, or a least rate above the peak.
    """
    for name, value in given.items():
        if isinstance(value, (int, float)) and value < 0:
            raise ConfigError(f"schedule.{name} is a number from 0 on, not {value:g}")
    if lr is not None and given.get("min_lr", 0) > lr:
        raise ConfigError(
            f"schedule.min_lr={given['min_lr']:g} is above the peak rate optim.lr={lr:g}, so the rate would rise; set "
            f"schedule.min_lr to at most {lr:g}"
        )


def tell_notices(given: Mapping[str, Any], optimizer: Optimizer, total_steps: int, steps_per_epoch: float) -> None:
    """Print :func:`notices`."""
    for notice in notices(given, peak_of(optimizer), total_steps, steps_per_epoch):
        print(f"visionattn: {notice}", file=sys.stderr)


def notices(given: Mapping[str, Any], peak: float, total_steps: int, steps_per_epoch: float) -> list[str]:
    """Sentences about settings of a schedule that this run cannot follow as they are given.

    Args:
        given: the settings, by the names of this file's functions.
        peak: the highest rate.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps per epoch.
    """
    found = []
    for name in ("min_lr", "warmup_lr"):
        if given.get(name, 0) > peak:
            found.append(f"schedule.{name}={given[name]:g} is above the peak rate {peak:g}, which is taken for it")
    epochs = given.get("warmup_epochs")
    asked = given.get("warmup_steps", 0) if epochs is None else round(epochs * steps_per_epoch)
    if asked > total_steps // 2:
        found.append(f"the warm-up of {asked} steps is cut to {total_steps // 2}, half of this run's {total_steps}")
    late = [f"{one:g}" for one in given.get("milestones", ()) if one >= 1 and one * steps_per_epoch >= total_steps]
    if late:
        found.append(
            f"schedule.milestones: this run ends before epoch {', '.join(late)}, so the rate does not fall there"
        )
    return found


def _warmup_steps(warmup_epochs: float, steps_per_epoch: float, total_steps: int) -> int:
    return min(round(warmup_epochs * steps_per_epoch), total_steps // 2)


def _warmup(steps: int, epochs: float | None, steps_per_epoch: float, total_steps: int) -> int:
    """The length of a warm-up that is given in steps or, instead, in epochs."""
    return min(steps, total_steps // 2) if epochs is None else _warmup_steps(epochs, steps_per_epoch, total_steps)


def poly(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: float,
    power: float = 1.0,
    min_lr: float = 0.0,
    warmup_steps: int = 1500,
    warmup_epochs: float | None = None,
    warmup_lr: float = 1e-10,
) -> Scheduler:
    """Polynomial decay: the rate times ``(1 - step / total_steps) ** power``.

    Liu et al. 2015, *ParseNet*, arXiv 1506.04579. As in segmentation recipes the decay is counted in steps, and the
    warm-up replaces its beginning.

    Args:
        optimizer: its groups' ``lr`` is the peak; a group's ``lr_scale`` multiplies whatever the schedule says.
        total_steps: optimizer steps of the whole run, warm-up included.
        steps_per_epoch: optimizer steps per epoch.
        power: 1: a straight line.
        min_lr: rate behind the last step; where it is above the peak, the rate stays at the peak.
        warmup_steps: length of the linear warm-up, at most half of the run.
        warmup_epochs: its length in epochs, instead of ``warmup_steps``.
        warmup_lr: rate of the first step.
    """
    return PolyLRScheduler(
        optimizer,
        t_initial=total_steps,
        power=power,
        lr_min=min(min_lr, peak_of(optimizer)),
        warmup_t=_warmup(warmup_steps, warmup_epochs, steps_per_epoch, total_steps),
        warmup_lr_init=min(warmup_lr, peak_of(optimizer)),
        t_in_epochs=False,
    )


def steps(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: float,
    milestones: Sequence[float] = (8, 11),
    factor: float = 0.1,
    warmup_steps: int = 500,
    warmup_epochs: float | None = None,
    warmup_lr: float = 1e-7,
) -> Scheduler:
    """Steps: the rate is multiplied by a factor at some epochs.

    Detection's 1x schedule has 8 and 11 of 12 epochs, the 3x schedule 27 and 33 of 36.

    Args:
        optimizer: its groups' ``lr`` is the peak; a group's ``lr_scale`` multiplies whatever the schedule says.
        total_steps: optimizer steps of the whole run, warm-up included.
        steps_per_epoch: optimizer steps per epoch.
        milestones: epochs at whose beginning the rate falls; below 1: after this share of the run.
        factor: what the rate is multiplied by.
        warmup_steps: length of the linear warm-up, at most half of the run.
        warmup_epochs: its length in epochs, instead of ``warmup_steps``.
        warmup_lr: rate of the first step.
    """
    return MultiStepLRScheduler(
        optimizer,
        decay_t=[round(epoch * (steps_per_epoch if epoch >= 1 else total_steps)) for epoch in milestones],
        decay_rate=factor,
        warmup_t=_warmup(warmup_steps, warmup_epochs, steps_per_epoch, total_steps),
        warmup_lr_init=min(warmup_lr, peak_of(optimizer)),
        t_in_epochs=False,
    )
