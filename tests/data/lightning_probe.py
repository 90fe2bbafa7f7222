"""A model that only writes down which samples it was given; run as a script it does so on two processes."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer

from visionattn.data import ClassificationData
from visionattn.data.classification.sources import ImageFolder


class Probe(LightningModule):
    """seen: one list of ids per training epoch; evaluated: ids of the last evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.norm = torch.nn.BatchNorm1d(
            1, affine=False
        )  # its buffers are broadcast at every forward: unequal ranks would hang
        self.seen: list[list[str]] = []
        self.evaluated: list[str] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weight * image.mean()

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch: dict[str, Any], index: int) -> torch.Tensor:
        self.seen[-1] += batch["id"]
        return self(batch["image"])

    def on_validation_epoch_start(self) -> None:
        self.evaluated = []

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        self.evaluated += batch["id"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(root: Path, epochs: int, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=root,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, "devices": 1, **options},
    )


class Writer(Probe):
    """Writes its lists to files, one per process."""

    out: Path

    def on_fit_end(self) -> None:
        text = json.dumps({"seen": self.seen, "evaluated": self.evaluated})
        (self.out / f"rank{self.global_rank}.json").write_text(text)


def main(tree: str, out: str) -> None:
    module = ClassificationData(ImageFolder(tree), 3, 16, batch_size=2, seed=3)
    probe = Writer()
    probe.out = Path(out)
    trainer(Path(out), 2, devices=2, strategy="ddp_fork").fit(probe, module)


if __name__ == "__main__":
    main(*sys.argv[1:])
