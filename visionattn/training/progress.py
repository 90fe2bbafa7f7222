"""The state of a run, written so that Lightning resumes exactly there.

Lightning saves its counters as they are at the moment of saving, half of them increased already, and infers from their
differences what is left to do. Here every checkpoint holds one of three unambiguous states: inside an epoch with the
next batch to train, before a validation that is due, or at the end of an epoch. An epoch that something stopped
(``max_time``, ``max_steps``, early stopping) is not at its end, although Lightning ends it: what is left of it is
trained when the run is resumed. A group of accumulated batches that was not whole begins again.
"""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from visionattn.data.seeding import seed_all
from visionattn.training.ending import epoch_is_whole, forget_time

_PARTS = ("ready", "started", "processed", "completed")


class StepSeeds(Callback):
    """Starts every training batch with random states that follow from (seed, epoch, batch, process) alone.

    Dropout, drop path and mixup of a batch are then the same whether or not the run was interrupted before it, without
    any random state in the checkpoint.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_all(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)


class LoopProgress(Callback):
    """Writes the position into every checkpoint.

    Attributes:
        phase: ``batch`` (a training batch is done), ``validating``, ``validated``, ``epoch`` (an epoch is done) or
            ``cut`` (an epoch was stopped before its last batch).
    """

    def __init__(self) -> None:
        self.phase = "epoch"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the position of the training loader.

        Lightning 2.6 does not restore it where the optimizer asked for the number of steps, because the loader then
        exists before the loop's state is restored. Elsewhere this does nothing.
        """
        loop: Any = trainer.fit_loop
        loop._load_combined_loader_states()

    def on_train_batch_end(self, *_: Any) -> None:
        self.phase = "batch"

    def on_validation_start(self, *_: Any) -> None:
        self.phase = "validating"

    def on_validation_end(self, *_: Any) -> None:
        self.phase = "validated"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.phase = "epoch" if epoch_is_whole(trainer) else "cut"

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        forget_time(checkpoint)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        forget_time(checkpoint)
        fit: Any = trainer.fit_loop
        loop = fit.epoch_loop
        batches = loop.batch_progress.current.processed
        last = batches >= trainer.num_training_batches
        begun = 0 if last else batches % trainer.accumulate_grad_batches
        batches -= begun
        phase = "epoch" if last and self.phase == "validated" else self.phase
        due = not begun and (phase == "validating" or (phase == "batch" and validation_is_due(trainer)))
        done = phase == "epoch"
        epochs = fit.epoch_progress.current.processed + (done and self.phase == "validated") - (phase == "cut")
        state = checkpoint["loops"]["fit_loop"]
        total = loop.batch_progress.total.processed - begun
        _set(state["epoch_progress"], ready=epochs + (not done), done=epochs)
        _set(state["epoch_loop.batch_progress"], total=total, now=0 if done else batches)
        for loader in state["state_dict"].get("combined_loader", []):
            if "batch" in loader:
                loader["batch"] -= begun
        state["epoch_loop.batch_progress"]["is_last_batch"] = last and not done
        _set(state["epoch_loop.val_loop.batch_progress"], ready=int(due), done=0)
        # Lightning counts a step for the loggers after validation, and does so again where it resumes before one
        steps = loop._batches_that_stepped + (phase == "batch" and not due)
        state["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - (done and trainer.max_steps != -1)
        checkpoint["position"] = {
            "epoch": epochs,
            "batch": 0 if done else batches,
            "step": trainer.global_step,
            "validation_due": due,
        }


def validation_is_due(trainer: Trainer) -> bool:
    """Whether Lightning validates right after the training batch that has just been done."""
    loop: Any = trainer.fit_loop.epoch_loop
    return bool(trainer.enable_validation) and bool(loop._should_check_val_fx(trainer.fit_loop._data_fetcher))


def _set(progress: dict[str, Any], **numbers: int) -> None:
    """Counters of one of Lightning's trackers, in its saved form: total and current."""
    for which in ("total", "current"):
        counter = progress[which]
        for part in _PARTS:
            if part in counter:
                counter[part] = _number(which, part, numbers)


def _number(which: str, part: str, numbers: dict[str, int]) -> int:
    if "now" in numbers:
        return numbers["total"] if which == "total" else numbers["now"]
    return numbers["ready"] if part in ("ready", "started") else numbers["done"]
