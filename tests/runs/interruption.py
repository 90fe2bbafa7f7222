"""A callback that writes down what a run trains on, and ends the process at a chosen place.

`PROBE` in the environment says where and how, for instance "train 5 kill": at the start of training batch 5 of the run
(counted over all epochs, from 0), by SIGKILL. Places: train N, accumulated N (after batch N), validation N (its N-th
batch over the whole run), saving N (in the middle of the N-th writing), epoch N (after the end of epoch N). Ways: kill,
term, raise (a BaseException, for tests inside one process). Of several processes only the first one is struck, and only
once where torchrun starts it again.
"""

import json
import os
import signal
from pathlib import Path

import torch
from lightning import Callback

from visionattn.training.checkpoints import AtomicCheckpointIO


class Killed(BaseException):
    """Ends a run as abruptly as an exception can."""


class Probe(Callback):
    def __init__(self, folder: str):
        self.file = Path(folder) / f"seen_{os.environ.get('LOCAL_RANK', os.environ.get('RANK', '0'))}.jsonl"
        place, number, self.way = os.environ.get("PROBE", "never 0 raise").split()
        self.place, self.number = place, int(number)
        self.validated = self.saved = 0

    def setup(self, trainer, pl_module, stage):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.place == "saving":
            trainer.strategy.checkpoint_io = BrokenOff(self)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._end("train", trainer.fit_loop.total_batch_idx)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        line = {"epoch": trainer.current_epoch, "batch": batch_idx, "ids": batch["id"], "step": trainer.global_step}
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._end("accumulated", trainer.fit_loop.total_batch_idx)

    def on_validation_batch_end(self, trainer, *args):
        self._end("validation", self.validated)
        self.validated += 1

    def on_train_epoch_start(self, trainer, pl_module):
        self._end("epoch", trainer.current_epoch - 1)

    def _end(self, place, number):
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        if (place, number) != (self.place, self.number) or os.environ.get("LOCAL_RANK", "0") != "0" or again:
            return
        if self.way == "raise":
            raise Killed
        os.kill(os.getpid(), signal.SIGKILL if self.way == "kill" else signal.SIGTERM)


class BrokenOff(AtomicCheckpointIO):
    """Gets half of a file onto the disk, then the process ends."""

    def __init__(self, probe):
        super().__init__()
        self.probe = probe

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        if self.probe.saved == self.probe.number:
            Path(path).with_name(f".{Path(path).name}.torn").write_bytes(os.urandom(1000))
            self.probe._end("saving", self.probe.saved)
        self.probe.saved += 1
        super().save_checkpoint(checkpoint, path)


def seen(folder: Path, rank: int = 0) -> dict[tuple[int, int], list[str]]:
    """(epoch, batch) -> ids, as they went into the weights: what an interruption undid is what was written later."""
    lines = [json.loads(line) for line in (folder / f"seen_{rank}.jsonl").read_text().splitlines()]
    return {(line["epoch"], line["batch"]): line["ids"] for line in lines}


def differing(one: Path, other: Path) -> list[str]:
    """Names of the entries of two checkpoints that are not equal to the bit."""
    first, second = (_tensors(torch.load(path, weights_only=True)) for path in (one, other))
    return [name for name in first.keys() | second.keys() if not _same(first.get(name), second.get(name))]


def _tensors(contents) -> dict:
    flat = {}
    for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "position"):
        _flatten(contents.get(part), part, flat)
    return flat


def _flatten(value, name, into):
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}", into)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            _flatten(inner, f"{name}.{number}", into)
    else:
        into[name] = value


def _same(one, other) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other
