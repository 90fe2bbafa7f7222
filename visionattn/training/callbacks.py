"""Callbacks that watch a run: what was predicted, and how fast it went."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor
from torch import distributed as dist

from visionattn.training.task import StepOutput

_KEPT = 30
_DRAWN_PER_SECOND = 4


@dataclass
class Predictions:
    """Everything one validation epoch said, over all processes once :meth:`gathered`.

    Attributes:
        ids, target, prediction, confidence: one entry per sample.
        mistakes: (confidence, caption, image) of wrong ones, the most confident first.
    """

    ids: list[str] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    prediction: list[int] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    mistakes: list[tuple[float, str, Tensor]] = field(default_factory=list)

    def add(self, output: StepOutput, batch: dict[str, Any], class_names: list[str]) -> None:
        confidence, predicted = output.prediction.float().softmax(-1).max(-1)
        wrong = (predicted != output.target).nonzero().flatten().tolist()
        for i in wrong:
            said, true = class_names[int(predicted[i])], class_names[int(output.target[i])]
            caption = f"said {said} ({100 * float(confidence[i]):.0f} %), is {true}"
            self.mistakes.append((float(confidence[i]), caption, batch["image"][i].detach().cpu()))
        self.mistakes = sorted(self.mistakes, key=lambda mistake: -mistake[0])[:_KEPT]
        self.ids += batch["id"]
        self.target += output.target.tolist()
        self.prediction += predicted.tolist()
        self.confidence += confidence.tolist()

    def gathered(self) -> Predictions:
        """The union over all processes, on every process."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, self)
        union = Predictions()
        for part in parts:
            for name in ("ids", "target", "prediction", "confidence", "mistakes"):
                getattr(union, name).extend(getattr(part, name))
        union.mistakes = sorted(union.mistakes, key=lambda mistake: -mistake[0])[:_KEPT]
        return union


class PredictionCollector(Callback):
    """Keeps the predictions of the latest validation epoch in ``self.latest``, gathered from all processes."""

    def __init__(self) -> None:
        self.latest = Predictions()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.latest = Predictions()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if isinstance(outputs, StepOutput):
            self.latest.add(outputs, batch, trainer.datamodule.class_names)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.latest = self.latest.gathered()


class Stopwatch(Callback):
    """Images per second over all processes, of training and of validation, from the start of each epoch to its last
    batch.
    """

    def __init__(self) -> None:
        self.images = {"train": 0, "val": 0}
        self.seconds = {"train": 0.0, "val": 0.0}
        self._since = 0.0

    def rate(self, phase: str) -> float:
        """Images per second in ``train`` or ``val``; 0 before the first batch."""
        return self.images[phase] / self.seconds[phase] if self.images[phase] else 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()  # a run that goes on inside an epoch does not start that one

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._count("train", trainer, batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._count("val", trainer, batch)

    def _count(self, phase: str, trainer: Trainer, batch: Any) -> None:
        now = time.perf_counter()
        self.images[phase] += len(batch["id"]) * trainer.world_size
        self.seconds[phase] += now - self._since
        self._since = now


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar without the logger's version number, drawn four times a second at most.

    Lightning's own draws after every batch, in a thread that takes turns with the training one, and fetches the loss
    from the device each time.
    """

    def __init__(self, leave: bool = False) -> None:
        super().__init__(refresh_rate=_DRAWN_PER_SECOND, leave=leave)
        self._next = 0.0

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
