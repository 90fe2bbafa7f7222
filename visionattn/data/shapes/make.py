"""Making of the drawn data set; folders that hold anything else are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from visionattn.data.claim import claim, record
from visionattn.data.shapes.layouts import write_ade20k, write_coco, write_imagenet
from visionattn.data.shapes.outlines import SHAPE_NAMES
from visionattn.data.shapes.panoptic import write_coco_panoptic
from visionattn.errors import ConfigError

WRITERS: dict[str, Callable[[Path, str, int, int, int], dict[str, int]]] = {
    "imagenet": write_imagenet,
    "coco": write_coco,
    "ade20k": write_ade20k,
    "coco_panoptic": write_coco_panoptic,
}
"""Layout to the function that writes one split of it.

- ``imagenet``: train|val/<class>/*.JPEG, one dominant shape each.
- ``coco``: train2017, val2017, annotations/instances_*.json with sparse category ids, crowds and images without
  objects.
- ``coco_panoptic``: the same with panoptic_*2017/*.png and annotations/panoptic_*.json; shapes are things, textures are
  stuff.
- ``ade20k``: images and annotations, 0 = other.
"""
MARKER = "shapes.json"
_VERSION = 1


def make_shapes(
    layout: str,
    dir: str | Path,
    num_train: int = 1000,
    num_val: int = 200,
    image_size: int = 128,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw images and write them as files in a published layout.

    The same arguments give the same bytes, with one version of Pillow and its JPEG library.

    Args:
        layout: ``imagenet``, ``coco``, ``coco_panoptic`` or ``ade20k``; :data:`WRITERS` describes their files.
        dir: folder to write into.
        num_train: images of the first split.
        num_val: images of the second split.
        image_size: longer side in pixels.
        seed: of everything that is drawn.

    Returns:
        The settings, the number of images and objects per split, and the class names.

    Raises:
        ConfigError: an unknown layout or impossible numbers.
        DataError: ``dir`` holds anything else than the same set.
    """
    _check_request(layout, num_train, num_val, image_size)
    root = Path(dir).expanduser()
    settings = _settings(layout, num_train, num_val, image_size, seed)
    claim(root, MARKER, settings)
    counts = {
        "train": WRITERS[layout](root, "train", num_train, image_size, seed),
        "val": WRITERS[layout](root, "val", num_val, image_size, seed),
    }
    summary = {**settings, "complete": True, "splits": counts, "classes": list(SHAPE_NAMES)}
    record(root, MARKER, summary)
    return {**summary, "dir": str(root)}


def _check_request(layout: str, num_train: int, num_val: int, image_size: int) -> None:
    if layout not in WRITERS:
        raise ConfigError(f"unknown layout {layout!r}; known are {', '.join(WRITERS)}")
    if image_size < 32 or num_train < 1 or num_val < 1:
        raise ConfigError(
            "image_size must be at least 32, num_train and num_val at least 1, "
            f"got {image_size}, {num_train} and {num_val}"
        )
    if layout == "imagenet" and min(num_train, num_val) < len(SHAPE_NAMES):
        raise ConfigError(f"the imagenet layout needs an image of each of the {len(SHAPE_NAMES)} classes per split")


def _settings(layout: str, num_train: int, num_val: int, image_size: int, seed: int) -> dict[str, Any]:
    """What the marker file records of a set; a folder with other settings is refused."""
    return {
        "made_by": "visionattn shapes",
        "version": _VERSION,
        "layout": layout,
        "num_train": num_train,
        "num_val": num_val,
        "image_size": image_size,
        "seed": seed,
    }
