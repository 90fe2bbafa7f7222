"""A published classifier in the place of a run, for commands that take a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

from visionattn.config import BuildPolicy
from visionattn.config.messages import plain
from visionattn.data import ClassificationData
from visionattn.runs.classifier import published_classifier
from visionattn.runs.open import OpenedRun
from visionattn.training.task import VisionTask
from visionattn.weights.sources import weights_file

_DATA = "visionattn.data.ClassificationData"


@dataclass
class PublishedRun(OpenedRun):
    """A published classifier; it has no data of its own, and its configuration describes it without building it.

    Attributes:
        choice: ``backbone``, ``backbone_name`` and ``weights`` of the command line.
    """

    choice: DictConfig | None = None
    without_data: ClassVar[str] = "published weights come without data; data=... names some"

    @cached_property
    def _built(self) -> tuple[VisionTask, ClassificationData]:
        assert self.choice is not None
        return published_classifier(self.choice, self.policy)

    @cached_property
    def task(self) -> VisionTask:
        """The classifier with its weights.

        Raises:
            CheckpointError: weights that do not fit, cannot be read, or cannot be fetched.
        """
        return self._built[0]

    @cached_property
    def config(self) -> DictConfig:
        """What is told of a run: the backbone, the number of classes, how images are prepared."""
        assert self.choice is not None
        (task, data), chosen = self._built, self.choice
        backbone = plain(chosen.backbone)
        kept: dict[str, Any] = {
            "name": str(backbone.get("model") or chosen.backbone_name),
            "backbone_name": str(chosen.backbone_name),
            "backbone": backbone,
            "weights": str(chosen.weights),
            "task": {"num_classes": task.num_classes},
            "data": {"_target_": _DATA, "source": {}, "image_size": list(data.image_size), "num_classes": None},
        }
        transform = data.eval_transform
        names = ("crop_pct", "crop_mode", "interpolation")
        kept["data"] |= {"mean": list(data.mean), "std": list(data.std)}
        kept["data"]["eval_transform"] = {name: getattr(transform, name) for name in names}
        return OmegaConf.create(kept)

    def told_origin(self, source: str) -> str:
        """Where the weights come from."""
        assert self.choice is not None
        return f"the weights {self.choice.weights}"

    def data(self) -> ClassificationData:
        """A data module that prepares images, without images of its own."""
        return self._built[1]


def open_published(cfg: DictConfig, policy: BuildPolicy) -> PublishedRun:
    """The classifier of ``backbone=... weights=...``, opened as a run is.

    Raises:
        ConfigError: no backbone, or no weights.
        CheckpointError: weights that do not fit, cannot be read, or cannot be fetched.
    """
    path = weights_file(str(cfg.weights)) or Path(str(cfg.weights))
    choice = OmegaConf.create({key: cfg[key] for key in ("backbone", "backbone_name", "weights")})
    opened = PublishedRun(path, {}, policy, choice=choice)
    _ = opened.task  # its errors come now, before a command makes a folder
    return opened
