"""Predictions on a user's own images: the protocol behind ``visionattn predict``.

Shapes: C channels, H W image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image

from visionattn.data.decode import DecodedImage, as_tensor
from visionattn.data.orientation import size_of
from visionattn.files import write_rows, write_whole

DRAWN_EDGE = 640
"""Pixels of the longer edge that a drawing has at least; smaller images are enlarged."""


@dataclass
class Predicted:
    """The prediction for one image.

    Attributes:
        draw: gives the image with the prediction drawn on it, RGB; a small image is enlarged.
        record: the prediction as plain numbers, strings, lists and mappings; one entry of ``predictions.json``.
        rows: the prediction as rows of ``predictions.csv``, without the image's name.
        counts: class -> how often it was predicted in the image.
        maps: name -> map in the image's own size, for instance a class map; written as PNG.
        caption: where it is not empty, the image goes with it on a sheet, and gets no file of its own.
    """

    draw: Callable[[], Image.Image]
    record: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    maps: dict[str, Image.Image] = field(default_factory=dict)
    caption: str = ""


def as_rgb(image: DecodedImage) -> Image.Image:
    """A decoded image to draw on; of more than three channels the first three, of two the first."""
    if isinstance(image, Image.Image):
        return image
    shown = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    return Image.fromarray(np.ascontiguousarray(shown.permute(1, 2, 0).numpy()))


def batch_of(images: Sequence[DecodedImage], data: Any, device: torch.device) -> dict[str, Any]:
    """A batch as a data module of COCO's layouts collates it, of images that belong to no data set."""
    return data.to_model_input(
        {
            "image": [data.eval_transform(as_tensor(image)).to(device) for image in images],
            "target": [{} for _ in images],
            "original": [size_of(image) for image in images],
            "id": [f"image {i + 1}" for i in range(len(images))],
        }
    )


@runtime_checkable
class PredictsImages(Protocol):
    """A task that predicts on images outside any data set."""

    def predict_images(self, images: Sequence[DecodedImage], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Predict on images of any sizes, in their order.

        Args:
            images: the images, decoded as ``data`` decodes its own.
            data: the data module of the run, built but not set up: its transforms, not its samples. Names of classes
                must come from the task (``task.class_info``, kept in the checkpoint).
            options: what the command line gave, for instance ``score``.
        """
        ...

    def prediction_files(self, folder: Path, images: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
        """Write the predictions for all images in the forms that other programs read.

        Args:
            folder: exists.
            images: the entries of ``predictions.json``.

        Returns:
            Description -> file; empty where there is no such form.
        """
        ...


def write_table(file: Path, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write the rows of all images as CSV: the column ``image``, then those of the rows."""
    listed = list(rows)
    columns = list(dict.fromkeys(key for _, row in listed for key in row))
    write_rows(file, [["image", *columns], *([name, *(row.get(key, "") for key in columns)] for name, row in listed)])


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file."""
    write_whole(file, json.dumps(content, indent=1) + "\n")
