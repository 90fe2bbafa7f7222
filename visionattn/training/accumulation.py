"""Gradient accumulation: the images of a step, and epochs whose batches are no multiple of the accumulated ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lightning import Trainer

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


def group_factor(trainer: Any) -> float:
    """What the loss of the current batch is multiplied by, so that a step averages over the batches that it really has.

    Lightning divides every loss by ``accumulate_grad_batches``, also those of an epoch's last group, which may have
    fewer batches: its gradient would be too small by that ratio.
    """
    count, whole = trainer.num_training_batches, trainer.accumulate_grad_batches
    if whole == 1 or math.isinf(count) or trainer.strategy.handles_gradient_accumulation:
        return 1.0
    rest = count % whole
    return whole / rest if rest and trainer.fit_loop.epoch_loop.batch_idx >= count - rest else 1.0


def steps_per_epoch(trainer: Any) -> float:
    """Optimizer steps of an epoch; the last group of accumulated batches is one, whole or not."""
    count, whole = trainer.num_training_batches, trainer.accumulate_grad_batches
    return count if math.isinf(count) else math.ceil(count / whole)


def global_batch(trainer: Trainer, data: VisionData) -> int:
    """Images per optimizer step: those of one process, times processes, times accumulated batches."""
    return data.batch_size * trainer.num_devices * trainer.num_nodes * trainer.accumulate_grad_batches
