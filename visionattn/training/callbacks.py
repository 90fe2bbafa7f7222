"""Callbacks that watch a run: its speed and its progress."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

_DRAWN_PER_SECOND = 4


def name_of_epoch(trainer: Trainer, epoch: int) -> str:
    """The words for an epoch: ``Epoch 1/36`` for the first of 36, ``Epoch 1`` where the number is open."""
    last = trainer.max_epochs
    return f"Epoch {epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "")


class Stopwatch(Callback):
    """Images per second over all processes, in training and in validation.

    Time runs from the start of each epoch to its last batch. The first batch of training and that of validation are
    left out where ``task.compile`` compiles in them.
    """

    def __init__(self) -> None:
        self.images = {"train": 0, "val": 0}
        self.seconds = {"train": 0.0, "val": 0.0}
        self._since = 0.0
        self._compiled: set[str] = set()

    def rate(self, phase: str) -> float:
        """Images per second in ``train`` or ``val``; 0 before the first batch."""
        return self.images[phase] / self.seconds[phase] if self.images[phase] else 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()  # a run that resumes inside an epoch does not start that epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._count("train", trainer, pl_module, batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            self._count("val", trainer, pl_module, batch)

    def _count(self, phase: str, trainer: Trainer, pl_module: Any, batch: Any) -> None:
        now = time.perf_counter()
        if pl_module.compiling.regions and phase not in self._compiled:
            self._compiled.add(phase)
        else:
            self.images[phase] += len(batch["id"]) * trainer.world_size
            self.seconds[phase] += now - self._since
        self._since = now


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar without the logger's version number, drawn four times a second at most.

    Lightning's own draws after every batch, in a thread that takes turns with the training one, and fetches the loss
    from the device each time, and counts epochs from 0.

    Args:
        leave: keep the bar of an epoch that is done.
        file: where the bar is drawn; None: standard output.
    """

    def __init__(self, leave: bool = False, file: Any = None) -> None:
        console = None if file is None else {"file": file}
        super().__init__(refresh_rate=_DRAWN_PER_SECOND, leave=leave, console_kwargs=console)
        self._next = 0.0

    def _get_train_description(self, current_epoch: int) -> str:
        return name_of_epoch(self.trainer, current_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now < self._next and batch_idx + 1 < trainer.num_training_batches:
            return
        self._next = now + 1 / _DRAWN_PER_SECOND
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
