"""What is exported: the trained model, images to check it with, and what its run left behind."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from visionattn.data import VisionData
from visionattn.data.image_size import as_size
from visionattn.errors import ConfigError, DataError
from visionattn.runs.open import OpenedRun
from visionattn.runs.resume import RESULTS
from visionattn.training.task import VisionTask

COUNT = 16
TOLERANCE = 1e-5


@dataclass
class ExportedModel:
    """A trained task, and everything that a card says about it.

    Attributes:
        opened: the run, by its checkpoint.
        options: the ``options`` of the export's configuration.
        data_config: of the data that it is compared, scored and calibrated with; None: the run's own.
    """

    opened: OpenedRun
    options: DictConfig
    data_config: DictConfig | None = None

    @property
    def task(self) -> VisionTask:
        """The task with its weights, in evaluation mode."""
        return self.opened.task.eval()

    @property
    def trained(self) -> DictConfig:
        """The configuration of its run."""
        return self.opened.config

    @property
    def backbone_name(self) -> str:
        """Name of the backbone; of a network of timm timm's."""
        return str(self.trained.backbone.get("model") or self.trained.backbone_name)

    @property
    def num_classes(self) -> int:
        """Classes that the task distinguishes."""
        return int(self.trained.task.num_classes)

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = as_size(self.trained.data.image_size)
        return height, width

    @property
    def count(self) -> int:
        """Images to check with: fewer where they are large."""
        height, width = self.image_size
        return max(2, min(COUNT, COUNT * 224 * 224 // (height * width)))

    @cached_property
    def data(self) -> VisionData[Any] | None:
        """The data, set up for validation; None where they are not on this machine."""
        try:
            chosen = self.data_config
            data = self.opened.data() if chosen is None else self.opened.policy.instantiate(chosen)
            data.setup("validate")
        except DataError:
            return None
        return data

    @cached_property
    def images(self) -> tuple[Tensor, str]:
        """Normalized images ``(B, C, H, W)`` of the run's image size, and in words what they are.

        They are a few of the validation set, or noise where it is not on this machine.
        """
        channels, size = int(self.trained.backbone.get("in_chans", 3)), self.image_size
        if self.data is None:
            noise = torch.randn(self.count, channels, *size, generator=torch.Generator().manual_seed(0))
            return noise, f"{self.count} images of noise: {self.opened.without_data}"
        images: list[Tensor] = []
        for batch in self.data.val_dataloader():  # dense tasks have one image in a batch
            images += list(self.data.to_model_input(batch)["image"])
            if len(images) >= self.count:
                break
        images = images[: self.count]
        return fitted(images, size), f"{len(images)} validation images"

    @property
    def class_names(self) -> list[str] | None:
        names = self.task.class_info.names
        if not names and self.data is not None:
            names = self.data.class_names
        return [str(name) for name in names] if names else None

    @cached_property
    def preparation(self) -> VisionData[Any]:
        """The run's data module, which knows how images are prepared; nothing of it is read."""
        return self.opened.data()

    def protocol(self) -> dict[str, Any]:
        """How the run evaluates images: what its data make of them and what its task does; plain values."""
        divisor = {"divisor": int(self.trained.data.divisor)} if "divisor" in self.trained.data else {}
        return self.preparation.describe_evaluation() | divisor | self.task.protocol()

    @cached_property
    def run(self) -> Path | None:
        """Folder of the run, where the checkpoint still lies in it."""
        folder = self.opened.path.resolve().parent.parent
        return folder if (folder / "metrics.csv").is_file() or (folder / RESULTS).is_file() else None

    @property
    def command(self) -> str | None:
        """The command that trained it."""
        path = self.run / RESULTS if self.run else None
        return json.loads(path.read_text(encoding="utf-8")).get("command") if path and path.is_file() else None

    def figures(self) -> dict[str, float]:
        """What validation gave for these very weights: the row of ``metrics.csv`` at the checkpoint's epoch."""
        path = self.run / "metrics.csv" if self.run else None
        if path is None or not path.is_file():
            return {}
        epoch = self.opened.contents.get("epoch")
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("epoch") == str(epoch)]
        return {
            name.removeprefix("val/"): float(value)
            for row in rows
            for name, value in row.items()
            if name and name.startswith("val/") and value
        }


def fitted(images: Any, size: tuple[int, int]) -> Tensor:
    """One batch of a size, of images of any size: what exceeds it is cut off, what is missing is zero."""
    batch = torch.zeros(len(images), images[0].shape[0], *size)
    for target, image in zip(batch, images, strict=True):
        cropped = image[:, : size[0], : size[1]]
        target[:, : cropped.shape[1], : cropped.shape[2]] = cropped
    return batch


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest deviation, relative to the largest value of ours."""
    return float((theirs - ours).abs().max() / ours.abs().max().clamp_min(torch.finfo(ours.dtype).tiny))


def check_classification(exported: ExportedModel, format: str) -> None:
    """Make sure that the task classifies images.

    Raises:
        ConfigError: another task.
    """
    from visionattn.heads import LogitsHead

    if not isinstance(exported.task.head, LogitsHead):
        raise ConfigError(
            f"format={format} exports classification models; this checkpoint has a {type(exported.task.head).__name__}"
        )
