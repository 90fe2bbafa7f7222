"""A trained model that predicts on whatever image it is given."""

from __future__ import annotations

from typing import Any, Self, overload

import numpy as np
import torch
from PIL import Image
from torch import nn

from visionattn.api.inputs import Images, ReadAny, images_of
from visionattn.api.results import Result, result_of
from visionattn.api.several import Results
from visionattn.data import VisionData
from visionattn.errors import ConfigError, DataError
from visionattn.runs.reading import check_options, predictions
from visionattn.runs.user_model import LARGEST_BATCH, on_device
from visionattn.tasks.predict import PredictsImages
from visionattn.training.task import VisionTask


class Model:
    """A task with its weights, and how its images are prepared; :func:`visionattn.load` gives one.

    Args:
        task: with weights.
        data: the data module of its run, not set up.
        origin: where the weights came from.

    Attributes:
        task: the ``LightningModule``; ``task.backbone`` and ``task.head`` are its two parts.
        data: knows how images are prepared; nothing of it is read.
        origin: where the weights came from.

    Raises:
        ConfigError: the task does not predict on images outside a data set.
    """

    def __init__(self, task: VisionTask, data: VisionData[Any], origin: str) -> None:
        if not isinstance(task, PredictsImages):
            raise ConfigError(
                f"predicting needs a task with predict_images; {origin} holds a {type(task).__name__}, which has none"
            )
        self.task, self.data, self.origin = task.eval(), data, origin

    def __repr__(self) -> str:
        classes = len(self.class_names) or self.task.num_classes
        return f"Model({type(self.task).__name__}, {type(self.backbone).__name__}, {classes} classes, {self.origin!r})"

    @property
    def backbone(self) -> nn.Module:
        """The backbone, with its weights."""
        return self.task.backbone

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their labels; empty where nothing names them."""
        return list(self.task.class_info.names)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.task.device

    def to(self, device: str | torch.device) -> Self:
        """Bring the model to a device, such as ``"cuda"``.

        Raises:
            ConfigError: there is no such device.
        """
        on_device(self.task, str(device))
        return self

    @overload
    def predict(
        self, images: Image.Image | np.ndarray, *, score: float = ..., top_k: int = ..., batch_size: int | None = ...
    ) -> Result: ...
    @overload
    def predict(self, images: Images, *, score: float = ..., top_k: int = ..., batch_size: int | None = ...) -> Any: ...
    def predict(self, images: Images, *, score: float = 0.5, top_k: int = 5, batch_size: int | None = None) -> Any:
        """What the model sees in images of any size.

        They are prepared as the run's evaluation prepares them. Boxes, masks and maps are at the size of each image.

        Args:
            images: a path, folder, pattern (``"photos/*.jpg"``) or address; a Pillow image; an array ``(H, W, 3)``; a
                tensor ``(3, H, W)`` or ``(B, 3, H, W)`` of 8 bits or from 0 to 1; or a list of these.
            score: detection and instances: the lowest score that is kept.
            top_k: classification: classes listed for an image.
            batch_size: images at once; None: as many as the run's evaluation, 32 at most.

        Returns:
            The result of a single image; else a list of them, in order.

        Raises:
            ConfigError: an impossible option.
            DataError: no image, or one that cannot be read; names it.
        """
        check_options({"score": score, "top_k": top_k, "batch_size": batch_size})
        found, single = images_of(images, self.data.in_chans)
        reader = ReadAny(found, self.data, batch_size or min(self.data.eval_batch_size, LARGEST_BATCH))
        options = {"score": score, "top_k": top_k}
        results = [
            result_of(image, size, predicted, self.task.class_info)
            for image, size, predicted in predictions(self.task, self.data, reader, options)
        ]
        if reader.unreadable:
            image, reason = reader.unreadable[0]
            more = f"; and {len(reader.unreadable) - 1} more" if len(reader.unreadable) > 1 else ""
            raise DataError(f"{image.origin} cannot be read: {reason}{more}")
        if single:
            return results[0]
        return Results(results, self.task, self.origin, {image.name: image for image in found})
