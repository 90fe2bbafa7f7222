"""Learning-rate schedules by step, on timm's schedulers. The task completes them with what only it knows."""

from __future__ import annotations

from timm.scheduler import CosineLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    steps_per_epoch: float,
    warmup_epochs: float = 5,
    warmup_lr: float = 1e-6,
    min_lr: float = 1e-5,
) -> Scheduler:
    """Linear warm-up, then half a cosine down to ``min_lr`` (Loshchilov and Hutter 2016, arXiv 1608.03983).

    Args:
        optimizer: its groups' ``lr`` is the peak; a group's ``lr_scale`` multiplies whatever the schedule says.
        total_steps: optimizer steps of the whole run, warm-up included.
        steps_per_epoch: optimizer steps per epoch.
        warmup_epochs: length of the warm-up in epochs, at most half of the run.
        warmup_lr: rate of the first step.
        min_lr: rate of the last step.
    """
    warmup = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(total_steps - warmup, 2),
        lr_min=min_lr,
        warmup_t=warmup,
        warmup_lr_init=warmup_lr,
        warmup_prefix=True,
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
        optimizer, decay_t=total_steps + 1, decay_rate=1.0, warmup_t=warmup, warmup_lr_init=warmup_lr, t_in_epochs=False
    )


def _warmup_steps(warmup_epochs: float, steps_per_epoch: float, total_steps: int) -> int:
    return min(round(warmup_epochs * steps_per_epoch), total_steps // 2)
