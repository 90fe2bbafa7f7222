"""What a training says while it runs: what it trains on before the first step, and a line after every epoch."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from visionattn.data import VisionData
from visionattn.errors import counted
from visionattn.runs import log
from visionattn.training.callbacks import Stopwatch, name_of_epoch


class Talking(Callback):
    """Prints data, device and a line per epoch, and starts the log of the run with the first step.

    Args:
        stopwatch: of the run.

    Attributes:
        loss: mean training loss of the last epoch; None before its end.
        first_step: seconds that the first step took, in which ``task.compile`` compiles; None before its end.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.loss: float | None = None
        self.first_step: float | None = None
        self._sum: Tensor | None = None
        self._batches = self._first_step = 0
        self._since = self._step_since = 0.0
        self._before = (0, 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        log.tee_anew()
        print(f"data: {data_in_words(trainer.datamodule)}\ndevice: {_device(trainer)}")  # type: ignore[attr-defined]
        print(f"training {_length(trainer)}, {counted(int(trainer.num_training_batches), 'batch', 'batches')} an epoch")
        if compiled := pl_module.compiling.describe():
            print(f"compile: {compiled}; this makes the first step slow", flush=True)
        self._since, self._first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sum, self._batches = None, 0
        self._before = (self.stopwatch.images["train"], self.stopwatch.seconds["train"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.first_step is None:
            self._step_since = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        log.begin()
        if self.first_step is None:
            self.first_step = time.monotonic() - self._step_since
            if news := pl_module.compiling.news():
                print(f"first step: {duration(self.first_step)}, {news}", flush=True)
                self._since, self._first_step = time.monotonic(), trainer.global_step  # of no use for an estimate
        if isinstance(outputs, dict) and "loss" in outputs:
            loss = outputs["loss"].float() * trainer.accumulate_grad_batches  # Lightning divides it
            self._sum = loss if self._sum is None else self._sum + loss
            self._batches += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._sum is not None:
            self.loss = float(self._sum) / self._batches
        parts = [] if self.loss is None else [f"loss {self.loss:.4g}"]
        score = trainer.callback_metrics.get(pl_module.monitor)
        if score is not None and pl_module.validated == trainer.current_epoch:
            parts.append(f"{pl_module.monitor} {float(score):.2f}")
        images = self.stopwatch.images["train"] - self._before[0]
        seconds = self.stopwatch.seconds["train"] - self._before[1]
        if seconds > 0:
            parts.append(f"{rate_in_words(images / seconds)} images/s")
        left = self._left(trainer)
        if left is not None:
            parts.append(f"{duration(left)} left" if left > 0 else "last epoch")
        print(f"{name_of_epoch(trainer, trainer.current_epoch)}: {', '.join(parts)}", flush=True)
        if news := pl_module.compiling.news():
            print(f"compiled since the first step: {news}", flush=True)

    def _left(self, trainer: Trainer) -> float | None:
        """Seconds until the end at the pace of now; None where no end is known."""
        total, done = trainer.estimated_stepping_batches, trainer.global_step - self._first_step
        if total == float("inf") or done <= 0:
            return None
        return max(float(total) - trainer.global_step, 0) * (time.monotonic() - self._since) / done


def duration(seconds: float) -> str:
    """A length of time in one or two units: ``12 s``, ``3 min``, ``2 h 5 min``, ``1 d 4 h``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def rate_in_words(rate: float) -> str:
    """A number of images per second: whole from ten on, two digits below."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def data_in_words(data: VisionData[Any]) -> str:
    """Images of each split, classes and size of a data module that has been set up."""
    names = {"train": "training", "val": "validation", "test": "test"}
    images = ", ".join(f"{count:,} {names.get(split, split)} images" for split, count in data.sizes.items())
    height, width = data.image_size
    return f"{images}, {counted(data.num_classes, 'class', 'classes')}, {height}x{width} pixels"


def _device(trainer: Any) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    processes = counted(trainer.world_size, "process", "processes")
    workers = counted(trainer.datamodule.num_workers, "loader worker")
    return f"{name}, precision {trainer.precision}, {processes}, {workers}"


def _length(trainer: Trainer) -> str:
    if trainer.max_steps > 0:
        return counted(trainer.max_steps, "step")
    epochs = trainer.max_epochs
    return counted(epochs, "epoch") if epochs is not None and epochs >= 0 else "without an end"
