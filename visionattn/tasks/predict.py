"""What a task says about a user's own pictures: the protocol behind ``visionattn predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor


@dataclass
class Predicted:
    """The answer for one picture.

    Attributes:
        picture: the picture with the answer drawn on it, RGB, in the picture's own size.
        record: the answer as plain numbers, strings, lists and mappings; one entry of ``predictions.json``.
        maps: name -> image in the picture's own size, for instance a class map; written as PNG beside the drawing.
    """

    picture: Image.Image
    record: dict[str, Any]
    maps: dict[str, Image.Image] = field(default_factory=dict)


def batch_of(images: Sequence[Image.Image], data: Any, device: torch.device) -> dict[str, Any]:
    """A batch of objects or segments, as a data module of COCO's layouts has it, of pictures that belong to none."""
    return data.to_model_input(
        {
            "image": [data.eval_transform(pil_to_tensor(image)).to(device) for image in images],
            "target": [{} for _ in images],
            "original": [(image.height, image.width) for image in images],
            "id": [f"picture {i + 1}" for i in range(len(images))],
        }
    )


@runtime_checkable
class PredictsImages(Protocol):
    """A task that can be asked about pictures outside any data set."""

    def predict_images(self, images: Sequence[Image.Image], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Answers for RGB pictures of any sizes, in their order.

        Args:
            images: the pictures.
            data: the data module of the run, built but not set up: its transforms, not its samples. Names of classes
                must come from the task (``task.class_info``, kept in the checkpoint).
            options: what the command line gave, for instance ``score``.
        """
        ...
