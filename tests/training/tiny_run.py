"""A task of four numbers on data in memory, for tests of the engine that need a real trainer."""

from functools import partial
from pathlib import Path

import torch
from lightning import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from visionattn.data.classes import ClassInfo
from visionattn.data.unreadable import UnreadableBudget
from visionattn.training import Evaluator, StepOutput, VisionTask
from visionattn.training.checkpoints import AtomicCheckpointIO
from visionattn.training.progress import LoopProgress


class Backbone(nn.Module):
    """A linear layer."""

    feature_info = [{"num_chs": 4, "reduction": 1, "module": "layer"}]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward_intermediates(self, x, **kwargs):
        return [self.layer(x)]


class Head(nn.Module):
    """Another one."""

    def __init__(self, feature_info) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, features):
        return self.layer(features[0])


class Score(Evaluator):
    """Gives the scores that it was made with, one per validation."""

    figures = ("score",)

    def __init__(self, scores=(1.0,)) -> None:
        self.scores = list(scores)

    def update(self, prediction, batch) -> None:
        pass

    def compute(self, data):
        return {"score": self.scores.pop(0) if len(self.scores) > 1 else self.scores[0]}

    def reset(self) -> None:
        pass


class Task(VisionTask):
    """The mean square of the head's output."""

    def step(self, batch):
        return StepOutput(self(batch["image"]).square().mean())


class Data(LightningDataModule):
    """``count`` training images of four numbers, and four of validation."""

    class_info = ClassInfo(["cat", "dog"])
    evaluation_split = "val"

    def __init__(self, count=8, batch_size=2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.images, self.batch_size = torch.randn(count, 4, generator=generator), batch_size

    def budget(self, split):
        return UnreadableBudget(0.0, len(self.images), split)

    def _loader(self, images):
        samples = [{"image": image, "id": str(index)} for index, image in enumerate(images)]
        return DataLoader(samples, batch_size=self.batch_size)

    def train_dataloader(self):
        return self._loader(self.images)

    def val_dataloader(self):
        return self._loader(self.images[:4])


SGD = partial(torch.optim.SGD, lr=0.1)


def tiny_task(optimizer=SGD, scores=(1.0,), monitor="val/score", **options):
    torch.manual_seed(0)
    return Task(Backbone(), Head, None, optimizer, evaluators={"score": Score(scores)}, monitor=monitor, **options)


def tiny_trainer(folder: Path, *callbacks, **options) -> Trainer:
    options = {"max_epochs": 1, "log_every_n_steps": 1, "num_sanity_val_steps": 0} | options
    plugins = [AtomicCheckpointIO(), *options.pop("plugins", [])]
    return Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[LoopProgress(), *callbacks],
        enable_checkpointing=any(hasattr(callback, "dirpath") or hasattr(callback, "folder") for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        plugins=plugins,
        **options,
    )
