"""A callback that spoils one picture of a run and writes down whether anything moved in that optimizer step."""

import json
import os
from pathlib import Path

import torch
from lightning import Callback

from visionattn.training.ema import WeightEMA


class Poison(Callback):
    """Spoils a picture of batch ``at`` on process ``rank``; ``steps_of`` batches are one optimizer step."""

    def __init__(self, folder: str, at: int, rank: int, steps_of: int = 1):
        self.file = Path(folder) / f"moved_{os.environ.get('LOCAL_RANK', '0')}.json"
        self.at, self.rank, self.steps_of = at, rank, steps_of
        self.before, self.moved = None, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx % self.steps_of == 0:
            self._compare(trainer, pl_module)
        if batch_idx == self.at and trainer.global_rank == self.rank:
            batch["image"][1] = float("nan")

    def on_train_end(self, trainer, pl_module):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.moved))

    def _compare(self, trainer, pl_module):
        now = _everything(trainer, pl_module)
        if self.before is not None:
            self.moved.append(sorted({name.partition(".")[0] for name in now if not _same(now, self.before, name)}))
        self.before = now


def _everything(trainer, task) -> dict[str, torch.Tensor]:
    found = {}
    for name, tensor in task.state_dict().items():
        found[f"{'statistics' if 'running' in name or 'batches' in name else 'weights'}.{name}"] = tensor
    for callback in trainer.callbacks:
        if isinstance(callback, WeightEMA):
            found |= {f"average.{name}": tensor for name, tensor in callback._average_model.state_dict().items()}
    for number, state in trainer.optimizers[0].state_dict()["state"].items():
        found |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    return {name: tensor.detach().clone() for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}


def _same(one, other, name) -> bool:
    return name in other and torch.equal(one[name], other[name])
