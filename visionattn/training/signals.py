"""Being asked to stop: Ctrl-C, SIGTERM, and SIGUSR1 as SLURM sends it before the time is up."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

from lightning import Callback, LightningModule, Trainer

from visionattn.errors import Interrupted
from visionattn.training.checkpoints import LastCheckpoint
from visionattn.training.distributed import any_process

CHECKED_EVERY = 10
"""Validation batches between two agreements on stopping."""


class StopSignals(Callback):
    """Makes a signal to one process stop all of them after the same optimizer step, or the same validation batch.

    A second Ctrl-C stops at once, as the first one does where no callback keeps the state.

    The handler only takes a note. Lightning's own one broadcasts from inside the handler, which can meet another
    collective half-way, and it also broadcasts a flag at every training step, with a wait for the device; both are
    switched off here, since the step's own reduction (:class:`visionattn.training.nonfinite.StepMonitor`) carries it.

    Attributes:
        requeue: SIGUSR1 came in a SLURM job, which is to be put into the queue again.
        keyboard: Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.requeue = self.keyboard = False
        self._module: Any = None
        self._trainer: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module, self._trainer = pl_module, trainer
        loop: Any = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = lambda: None
        connector: Any = trainer._signal_connector
        if connector.received_sigterm:  # came while the run was being set up
            connector.received_sigterm = False
            self._ask()
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGUSR1"):
                if hasattr(signal, name):  # Lightning puts the old handlers back at the end
                    signal.signal(getattr(signal, name), self._note)
            if any(isinstance(callback, LastCheckpoint) for callback in trainer.checkpoint_callbacks):
                signal.signal(signal.SIGINT, self._note_keyboard)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and batch_idx % CHECKED_EVERY == 0:
            self._module.decision.stop = any_process(self._module.stop_requested)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Interrupted):
            return
        if self.keyboard:
            exception.code = 130
        if self.requeue and trainer.is_global_zero:
            requeue()

    def _note(self, number: int, frame: Any) -> None:
        self.requeue |= number == getattr(signal, "SIGUSR1", None) and "SLURM_JOB_ID" in os.environ
        self._ask()

    def _note_keyboard(self, number: int, frame: Any) -> None:
        if self._module.stop_requested:
            raise KeyboardInterrupt
        self.keyboard = True
        if self._trainer.is_global_zero:
            text = "visionattn: stopping after this step and saving its state; Ctrl-C again stops at once"
            print(f"\n{text}", file=sys.stderr, flush=True)
        self._ask()

    def _ask(self) -> None:
        self._module.stop_requested = True


def requeue() -> None:
    """Puts this SLURM job into the queue again; says so where that fails."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
    scontrol = shutil.which("scontrol")
    if not re.fullmatch(r"[0-9_-]+", job) or scontrol is None:
        print(f"visionattn: cannot requeue job {job!r}: scontrol was not found", file=sys.stderr)
        return
    done = subprocess.run([scontrol, "requeue", job], capture_output=True, text=True, check=False)
    outcome = "requeued" if done.returncode == 0 else f"could not be requeued: {done.stderr.strip()}"
    print(f"visionattn: job {job} {outcome}", file=sys.stderr)
