"""Exponential moving average of the weights, on Lightning's weight averaging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from visionattn.errors import ConfigError
from visionattn.training.fsdp import FullySharded


class WeightEMA(WeightAveraging):
    """Polyak and Juditsky 1992; Tarvainen and Valpola 2017, *Mean teachers*, arXiv 1703.01780.

    After every optimizer step the averaged weights move towards the trained ones by ``1 - decay``. The averaged weights
    are what is validated, saved as ``state_dict`` and kept at the end. Early on the decay is ``(1 + n) / (10 + n)``
    after n steps, so that the average forgets the random start in short runs too.

    Args:
        decay: upper limit of the decay, in [0, 1).

    Raises:
        ValueError: ``decay`` is outside [0, 1).
    """

    def __init__(self, decay: float = 0.9999):
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must be in [0, 1), got {decay}")
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0
        self._swapped = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step that was left out because something was not finite moves nothing."""
        decision = getattr(pl_module, "decision", None)
        if decision is not None and decision.skip and trainer.global_step > self._latest_update_step:
            self._latest_update_step = trainer.global_step
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if isinstance(trainer.strategy, FullySharded):
            raise ConfigError("averaged weights are not supported with sharded weights: add callbacks=no_ema")
        device = self._device or pl_module.device
        self._average_model = AveragedModel(pl_module, device=device, use_buffers=self._use_buffers, **self._kwargs)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """During validation the two sets of weights have changed places; they are saved as if they had not."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._swapped:
            averaged, current = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint["state_dict"], checkpoint["current_model_state"] = averaged, current

    @torch.no_grad()
    def _average(self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay)
        else:
            torch._foreach_copy_(list(averaged), list(current))
