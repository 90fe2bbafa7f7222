"""Checkpoints that survive: written beside and renamed, checked when read, the one before kept."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from visionattn.errors import CheckpointError, Interrupted
from visionattn.files import whole
from visionattn.training.ending import epoch_is_whole
from visionattn.training.progress import validation_is_due
from visionattn.training.writing import writing
from visionattn.weights.distributed import folder_damage

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """A checkpoint appears under its name when all of it is on the disk, and never before.

    The file is torch's zip archive, in which every record carries a CRC-32; reading checks them all, so that neither a
    truncated file nor a flipped bit is taken for a checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[Path, dict[str, Any]] = {}

    def hand_in(self, path: Path, contents: dict[str, Any]) -> None:
        """Take the checked contents of a file, which then is not read again when it is asked for."""
        self._read[path] = contents

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if storage_options is not None:
            raise TypeError("storage_options are not supported")
        with writing(Path(path)), replacing(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        if Path(path) in self._read:
            return self._read.pop(Path(path))
        if fault := damage(Path(path)):
            raise CheckpointError(f"the checkpoint {path} is damaged: {fault}")
        return torch.load(path, map_location=map_location or "cpu", weights_only=weights_only is not False)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` once it is on the disk; on an error, never."""
    with whole(path) as draft, draft.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes renames last through a power failure, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def damage(path: Path, file: BinaryIO | None = None) -> str:
    """What is wrong with a checkpoint; empty if every record of it can be read and has its checksum.

    Args:
        path: the file, or the folder with a distributed one.
        file: the file, where it is open already; it is left open.
    """
    if path.is_dir():
        return folder_damage(path)
    try:
        with zipfile.ZipFile(file or path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return f"the record {broken} has a wrong checksum" if broken else ""


def set_aside(path: Path) -> None:
    """Takes a damaged checkpoint out of the way of the next one, keeping it for whoever wants to look."""
    aside = path.with_name(f"{path.name}.damaged")
    if aside.is_dir():
        shutil.rmtree(aside)
    path.replace(aside)


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt`` and, in case it gets damaged, ``previous.ckpt``.

    Saved are only whole optimizer steps: nothing of a half-accumulated gradient is lost or counted twice.

    Args:
        dirpath: folder of the checkpoints.
        every_n_steps: optimizer steps between two savings inside an epoch; 0: none.
        every_n_epochs: epochs between two savings at an epoch's end; 0: none.
    """

    def __init__(self, dirpath: str, every_n_steps: int = 1000, every_n_epochs: int = 1) -> None:
        self.folder = Path(dirpath)
        self.every_n_steps, self.every_n_epochs = every_n_steps, every_n_epochs
        self._saved: tuple[int, bool] | None = None
        self._step = -1

    @property
    def path(self) -> Path:
        """Where the newest checkpoint lies."""
        return self.folder / LAST

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # the gradient is still being accumulated
        self._step = trainer.global_step
        self._leave_if_asked(trainer, pl_module)
        if trainer.fit_loop.epoch_loop._num_ready_batches_reached() and not validation_is_due(trainer):
            return  # on_train_epoch_end follows at once
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self.save(trainer, epoch_done=False)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._leave_if_asked(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        due = self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due or not epoch_is_whole(trainer):  # a run that is stopped keeps what it has
            self.save(trainer, epoch_done=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run of no steps leaves its model too: so another project's weights become a checkpoint of ours."""
        if 0 in (trainer.max_epochs, trainer.max_steps):
            self.save(trainer, epoch_done=False)

    def save(self, trainer: Trainer, epoch_done: bool) -> None:
        """Writes ``last.ckpt``; what bore that name becomes ``previous.ckpt``. Every process calls it."""
        now = (trainer.global_step, epoch_done)
        if now == self._saved or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        draft = self.folder / f".{LAST}.new"
        trainer.save_checkpoint(draft)
        if trainer.is_global_zero:
            with writing(self.path):
                rotate(draft, self.path, self.folder / PREVIOUS)
        trainer.strategy.barrier("checkpoint in place")
        self._saved = now

    def _leave_if_asked(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.decision.stop:
            self.save(trainer, epoch_done=False)
            raise Interrupted(
                f"stopped by a signal in epoch {trainer.current_epoch + 1} after step {trainer.global_step:,}; all of "
                f"it is in {self.path}"
            )


def rotate(new: Path, last: Path, previous: Path) -> None:
    """``new`` becomes ``last`` and ``last`` becomes ``previous``; one whole checkpoint bears a name at every moment."""
    if last.is_file() and new.is_file():
        try:
            with whole(previous) as draft:
                os.link(last, draft)
        except OSError:  # a file system without links: for a moment there is only the previous one
            last.replace(previous)
    elif last.exists():
        if previous.is_dir():
            shutil.rmtree(previous)
        last.replace(previous)
    new.replace(last)
    _sync_folder(last.parent)
