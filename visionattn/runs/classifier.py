"""A published classifier as a model for a user's own images: its preprocessing and its class names, without a run."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from omegaconf import DictConfig
from timm.data import ImageNetInfo, infer_imagenet_subset

from visionattn.config import BuildPolicy
from visionattn.data import ClassificationData
from visionattn.data.classes import ClassInfo
from visionattn.data.classification.transforms import EvalTransform
from visionattn.data.records import Records
from visionattn.errors import DataError
from visionattn.runs.pretrained import pretrained_task, untrained_task
from visionattn.tasks import ClassificationTask
from visionattn.training.task import VisionTask

_IN_TRANSFORM = ("crop_pct", "crop_mode", "interpolation")


class NoSamples:
    """A source without images, of a data module that only prepares a user's own."""

    def open(self, split: str) -> Records:
        """Raise: there is nothing to read.

        Raises:
            DataError: always.
        """
        raise DataError(f"a published model has no {split} images of its own")


def published_classifier(cfg: DictConfig, policy: BuildPolicy) -> tuple[VisionTask, ClassificationData]:
    """The model of ``backbone=... weights=...``, and a data module that prepares images as it was evaluated.

    Raises:
        ConfigError: no backbone, or no weights.
        CheckpointError: weights that do not fit, cannot be read, or cannot be fetched.
    """
    model = pretrained_task(cfg, policy)
    return model.task, _with_data(model.task, model.protocol)


def untrained_classifier(cfg: DictConfig, policy: BuildPolicy) -> tuple[VisionTask, ClassificationData]:
    """The model of ``backbone=...`` with random weights, and a data module that prepares images by its card."""
    model = untrained_task(cfg, policy)
    return model.task, _with_data(model.task, model.protocol)


def _with_data(task: ClassificationTask, protocol: dict[str, Any]) -> ClassificationData:
    """The data module of a protocol; the task gets ImageNet's names where it has no others."""
    transform = {name: value for name, value in protocol["eval_transform"].items() if name in _IN_TRANSFORM}
    data = ClassificationData(
        NoSamples(),
        task.num_classes,
        protocol["image_size"],
        eval_transform=partial(EvalTransform, **transform),
        mean=protocol["mean"],
        std=protocol["std"],
        in_chans=task.backbone.in_chans,
    )
    if not task.class_info.names:
        task.class_info = ClassInfo(names=_imagenet_names(task.num_classes))
    return data


def _imagenet_names(num_classes: int) -> list[str]:
    """The names of ImageNet's classes where a model has as many classes as one of its sets, else none.

    Several classes of the larger sets share a name; these get their WordNet ids too.
    """
    subset: Any = infer_imagenet_subset({"num_classes": num_classes, "tag": ""})
    if not subset:
        return []
    info = ImageNetInfo(subset)
    names = [info.index_to_description(label).split(",")[0] for label in range(num_classes)]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({info.index_to_label_name(label)})" for label, name in enumerate(names)
    ]
