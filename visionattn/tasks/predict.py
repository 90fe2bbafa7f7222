"""Predictions on a user's own images: the protocol behind ``visionattn predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor


@dataclass
class Predicted:
    """The prediction for one image.

    Attributes:
        image: the image with the prediction drawn on it, RGB, in the image's own size.
        record: the prediction as plain numbers, strings, lists and mappings; one entry of ``predictions.json``.
        maps: name -> map in the image's own size, for instance a class map; written as PNG beside the drawing.
    """

    image: Image.Image
    record: dict[str, Any]
    maps: dict[str, Image.Image] = field(default_factory=dict)


def batch_of(images: Sequence[Image.Image], data: Any, device: torch.device) -> dict[str, Any]:
    """A batch as a data module of COCO's layouts collates it, of images that belong to no data set."""
    return data.to_model_input(
        {
            "image": [data.eval_transform(pil_to_tensor(image)).to(device) for image in images],
            "target": [{} for _ in images],
            "original": [(image.height, image.width) for image in images],
            "id": [f"image {i + 1}" for i in range(len(images))],
        }
    )


@runtime_checkable
class PredictsImages(Protocol):
    """A task that predicts on images outside any data set."""

    def predict_images(self, images: Sequence[Image.Image], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Predict on RGB images of any sizes, in their order.

        Args:
            images: the images.
            data: the data module of the run, built but not set up: its transforms, not its samples. Names of classes
                must come from the task (``task.class_info``, kept in the checkpoint).
            options: what the command line gave, for instance ``score``.
        """
        ...
