"""COCO's annotation file of instances, read once, checked, and stored in arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.detection.coco_file import CocoFile, CocoImage, read_coco
from visionattn.data.detection.objects import CocoObject, ObjectReader
from visionattn.data.detection.tally import Tally
from visionattn.data.records import PackedStrings
from visionattn.errors import DataError


@dataclass
class Annotations:
    """One split. Images are in the order of the file; objects of image i are rows first[i] to first[i + 1].

    Attributes:
        names: file names.
        image_ids: number of each image, int64 ``(I,)``; the file's id where all ids are whole numbers.
        file_ids: the file's id of each image.
        sizes: int64 ``(I, 2)``, (height, width).
        category_ids: the file's id of label 0, 1, ..., in rising order.
        class_names: of the same labels.
        first: int64 ``(I + 1,)``.
        boxes: float32 ``(M, 4)`` as x1 y1 x2 y2, clipped to the image.
        labels: int64 ``(M,)``.
        areas: float32 ``(M,)``.
        has_mask: bool ``(M,)``.
        segmentations: JSON text of each object; empty without a mask.
        dropped: what was left out because it is wrong.
        repaired: what was mended.
        unmasked: objects without a mask that can be drawn, by reason; empty where masks are not read.
        crowds: number of crowds, which are left out too.
        listed: annotations in the file.
        stated: float32 ``(M, 4)``, the boxes as the file has them: x y width height.
    """

    names: PackedStrings
    image_ids: np.ndarray
    file_ids: list[Any]
    sizes: np.ndarray
    category_ids: list[Any]
    class_names: list[str]
    first: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    has_mask: np.ndarray
    segmentations: PackedStrings
    dropped: Tally
    repaired: Tally
    unmasked: Tally
    crowds: int
    listed: int
    stated: np.ndarray


def read_annotations(
    content: dict[str, Any],
    path: Path,
    masks: bool = True,
    empty_images: bool = True,
    folder: Path | None = None,
) -> Annotations:
    """Check one split and store it in arrays.

    Args:
        content: in COCO's form, for instance of :func:`visionattn.data.detection.json_file.read_json`.
        path: where it comes from, for messages.
        masks: read masks too.
        empty_images: keep images without any object.
        folder: of the images, for sizes that the file does not state.

    Raises:
        DataError: see :func:`visionattn.data.detection.coco_file.read_coco`; or there is no image.
    """
    file = read_coco(content, path, folder)
    reader = ObjectReader(file, masks)
    of_image: list[list[CocoObject]] = [[] for _ in file.images]
    crowds = 0
    for one in reader.read():
        if one.crowd:
            crowds += 1
        elif not one.flaw:
            of_image[one.image].append(one)
    chosen = [index for index, objects in enumerate(of_image) if empty_images or objects]
    if not chosen:
        reasons = [file.dropped.explained()] if file.dropped.counts else []
        reasons += [f"{crowds:,} crowds"] if crowds else []
        found = f"{file.listed:,} annotations and {len(file.images):,} images"
        kind, hint = (
            ("", "") if empty_images else (" with objects", "; data.source.empty_images=true trains without any")
        )
        raise DataError(f"{path} lists no image{kind}: of {found}, left out are {'; '.join(reasons) or 'none'}{hint}")
    return _packed(file, reader, [file.images[i] for i in chosen], [of_image[i] for i in chosen], crowds)


def _packed(
    file: CocoFile, reader: ObjectReader, images: list[CocoImage], grouped: list[list[CocoObject]], crowds: int
) -> Annotations:
    objects, counts = [one for group in grouped for one in group], [len(group) for group in grouped]
    sizes = np.array([(image.height, image.width) for image in images], np.int64)
    texts = ("" if one.segmentation is None else json.dumps(one.segmentation, separators=(",", ":")) for one in objects)
    return Annotations(
        PackedStrings(image.name for image in images),
        np.array([image.number for image in images], np.int64),
        [image.id for image in images],
        sizes,
        file.category_ids,
        file.class_names,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        _corners(objects, np.repeat(sizes, counts, axis=0)),
        np.array([one.label for one in objects], np.int64),
        np.array([one.area for one in objects], np.float32),
        np.array([one.segmentation is not None for one in objects], bool),
        PackedStrings(texts),
        file.dropped,
        file.repaired,
        reader.unmasked,
        crowds,
        file.listed,
        np.array([one.box for one in objects], np.float32).reshape(-1, 4),
    )


def _corners(objects: list[CocoObject], sizes: np.ndarray) -> np.ndarray:
    boxes = np.array([one.box for one in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    limits = sizes[:, ::-1].reshape(-1, 2)
    return np.clip(boxes, 0, np.tile(limits, 2)).astype(np.float32)


def evaluation_annotations(
    file: CocoFile, images: Mapping[int, int], categories: Mapping[int, Any], masks: bool
) -> dict[str, Any]:
    """Contents of an annotation file about some images and categories, as COCO's evaluation takes them.

    Crowds and boxes of every kind are included; only boxes that are not four finite numbers are left out. Annotations
    are numbered from 1. An object without a mask that can be drawn has no ``segmentation``.

    Args:
        file: the annotation file.
        images: index of each image to take -> its number.
        categories: label of each category to take -> its id.
        masks: with segmentations.
    """
    kept: list[dict[str, Any]] = []
    for one in ObjectReader(file, masks).read():
        if one.image not in images or one.label not in categories:
            continue
        entry = {"id": len(kept) + 1, "image_id": images[one.image], "category_id": categories[one.label]}
        entry |= {"bbox": one.box, "area": one.area, "iscrowd": int(one.crowd)}
        kept.append(entry if one.segmentation is None else entry | {"segmentation": one.segmentation})
    taken = [
        image.entry | {"id": images[i], "file_name": image.name, "height": image.height, "width": image.width}
        for i, image in enumerate(file.images)
        if i in images
    ]
    classes = [
        category.entry | {"id": categories[label], "name": category.name}
        for label, category in enumerate(file.categories)
        if label in categories
    ]
    return {"info": {}, "images": taken, "annotations": kept, "categories": classes}
