"""COCO's annotation file, read once, checked, and stored in arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.detection.masks import problem
from visionattn.data.records import PackedStrings
from visionattn.errors import DataError

_KEYS = ("images", "annotations", "categories")
_EXAMPLES = 10


@dataclass
class Dropped:
    """Annotations that are left out, by reason: their number and the first examples."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, where: str) -> None:
        """Count one."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES:
            shown.append(where)

    def __str__(self) -> str:
        return "; ".join(f"{count} {reason}" for reason, count in self.counts.items())


@dataclass
class Annotations:
    """One split. Images are in the order of the file; objects of image i are rows first[i] to first[i + 1].

    Attributes:
        names: file names.
        image_ids: int64 ``(I,)``.
        sizes: int64 ``(I, 2)``, (height, width).
        category_ids: sparse number of label 0, 1, ... in the file, in rising order.
        class_names: of the same labels.
        first: int64 ``(I + 1,)``.
        boxes: float32 ``(M, 4)`` as x1 y1 x2 y2, clipped to the image.
        labels: int64 ``(M,)``.
        areas: float32 ``(M,)``.
        segmentations: JSON text of each object.
        dropped: what was left out because it is wrong.
        crowds: number of crowds, which are left out too.
    """

    names: PackedStrings
    image_ids: np.ndarray
    sizes: np.ndarray
    category_ids: list[int]
    class_names: list[str]
    first: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    segmentations: PackedStrings
    dropped: Dropped
    crowds: int


def read_json(path: Path) -> dict[str, Any]:
    """Read the file.

    Raises:
        DataError: missing, no JSON, or without COCO's three lists.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"the annotations {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"the annotations {path} are not valid JSON: {error}") from error
    missing = [key for key in _KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise DataError(f"{path} is not a COCO annotation file: missing {', '.join(missing)}")
    return content


def categories(content: dict[str, Any], path: Path) -> tuple[list[int], list[str]]:
    """Category ids in rising order, and their names.

    Raises:
        DataError: none, or an id twice.
    """
    pairs = sorted((int(category["id"]), str(category["name"])) for category in content["categories"])
    ids = [number for number, _ in pairs]
    if not ids or len(set(ids)) != len(ids):
        raise DataError(f"{path}: {'category ids occur twice' if ids else 'there are no categories'}")
    return ids, [name for _, name in pairs]


def problems(content: dict[str, Any], masks: bool = True) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield (annotation, what is wrong or "", details) for every annotation of a file."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    known = {category["id"] for category in content["categories"]}
    for annotation in content["annotations"]:
        yield annotation, *_problem(annotation, sizes, known, masks)


def _problem(
    annotation: dict[str, Any], sizes: dict[Any, tuple[int, int]], known: set[Any], masks: bool
) -> tuple[str, str]:
    size, box = sizes.get(annotation.get("image_id")), annotation.get("bbox")
    if size is None:
        return "annotations whose image_id is unknown", f"image_id {annotation.get('image_id')}"
    if annotation.get("category_id") not in known:
        return "unknown categories", f"category_id {annotation.get('category_id')}"
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        return "boxes that are not four numbers", f"bbox {box}"
    if not all(map(math.isfinite, box)):
        return "boxes that are not finite", f"bbox {box}"
    if box[2] <= 0 or box[3] <= 0:
        return "boxes without width or height", f"bbox {box}"
    height, width = size
    if box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
        return "boxes outside their image", f"bbox {box} in {height}x{width}"
    what = problem(annotation.get("segmentation"), height, width) if masks else ""
    return ("invalid masks", what) if what else ("", "")


def read_annotations(content: dict[str, Any], path: Path, masks: bool = True, empty_images: bool = True) -> Annotations:
    """Check one split and store it in arrays.

    Args:
        content: in COCO's form, for instance of :func:`read_json`.
        path: where it comes from, for messages.
        masks: leave out objects whose mask cannot be right.
        empty_images: keep images without any object.

    Raises:
        DataError: see :func:`categories`; or there is no image.
    """
    ids, class_names = categories(content, path)
    label_of = {number: label for label, number in enumerate(ids)}
    of_image, dropped, crowds = _by_image(content, masks)
    images = [image for image in content["images"] if empty_images or of_image[image["id"]]]
    if not images:
        raise DataError(f"{path} lists no image{'' if empty_images else ' with objects'}")
    objects = [annotation for image in images for annotation in of_image[image["id"]]]
    sizes = np.array([(image["height"], image["width"]) for image in images], np.int64)
    counts = [len(of_image[image["id"]]) for image in images]
    return Annotations(
        PackedStrings(image["file_name"] for image in images),
        np.array([image["id"] for image in images], np.int64),
        sizes,
        ids,
        class_names,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        _corners(objects, np.repeat(sizes, counts, axis=0)),
        np.array([label_of[a["category_id"]] for a in objects], np.int64),
        np.array([a.get("area", 0.0) for a in objects], np.float32),
        PackedStrings(json.dumps(a.get("segmentation"), separators=(",", ":")) if masks else "" for a in objects),
        dropped,
        crowds,
    )


def _by_image(content: dict[str, Any], masks: bool) -> tuple[dict[Any, list[dict[str, Any]]], Dropped, int]:
    """Image id to its objects, for every image; the wrong annotations, counted; and the number of crowds."""
    of_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    dropped, crowds = Dropped(), 0
    for annotation, what, details in problems(content, masks):
        if what:
            dropped.add(what, f"annotation {annotation.get('id')}: {details}")
        elif annotation.get("iscrowd"):
            crowds += 1
        else:
            of_image[annotation["image_id"]].append(annotation)
    return of_image, dropped, crowds


def _corners(objects: list[dict[str, Any]], sizes: np.ndarray) -> np.ndarray:
    boxes = np.array([a["bbox"] for a in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    limits = sizes[:, ::-1].reshape(-1, 2)
    return np.clip(boxes, 0, np.tile(limits, 2)).astype(np.float32)
