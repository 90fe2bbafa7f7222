"""How a training ended: at its end, or stopped before."""

from __future__ import annotations

from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

from visionattn.errors import counted

MAX_TIME, EARLY = "max_time", "early stopping"


def stopped_by(trainer: Trainer) -> str:
    """What stopped a training before ``max_epochs`` or ``max_steps``; empty if it came to its end.

    Returns:
        ``max_time``, ``early stopping``, or ``a callback``.
    """
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs not in (None, -1) and trainer.current_epoch >= epochs and epoch_is_whole(trainer):
        return ""
    if (steps != -1 and trainer.global_step >= steps) or not trainer.should_stop:
        return ""
    if any(callback.time_elapsed() >= limit for callback, limit in _timers(trainer)):
        return MAX_TIME
    return EARLY if any(isinstance(callback, EarlyStopping) for callback in _callbacks(trainer)) else "a callback"


def epoch_is_whole(trainer: Trainer) -> bool:
    """Whether every batch of the current epoch has been trained on."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.processed >= trainer.num_training_batches


def why_unvalidated(trainer: Trainer) -> str:
    """Why a training never validated."""
    every = trainer.check_val_every_n_epoch
    if trainer.limit_val_batches == 0:
        return "trainer.limit_val_batches is 0"
    if trainer.global_step == 0:
        return "no step was made"
    if every is not None and every > trainer.current_epoch:
        return f"trainer.check_val_every_n_epoch is {every}, the run has {counted(trainer.current_epoch, 'epoch')}"
    return "the run ended before its first one"


def forget_time(checkpoint: dict[str, Any]) -> None:
    """Take the time that has passed out of a checkpoint: ``max_time`` is that of one command, not of all together."""
    checkpoint.get("callbacks", {}).pop(Timer().state_key, None)


def _callbacks(trainer: Trainer) -> list[Callback]:
    found: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found


def _timers(trainer: Trainer) -> list[tuple[Timer, float]]:
    """Every timer that limits the run, with its seconds."""
    timers = [callback for callback in _callbacks(trainer) if isinstance(callback, Timer)]
    return [(timer, timer._duration) for timer in timers if timer._duration is not None]
