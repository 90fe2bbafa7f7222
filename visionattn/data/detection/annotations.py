"""COCO's annotation file of instances, read once, checked, and stored in arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask

from visionattn.data.detection.coco_file import NO_CATEGORY, CocoFile, CocoImage, read_coco
from visionattn.data.detection.masks import Segmentation, mended, to_runs
from visionattn.data.detection.tally import Tally
from visionattn.data.detection.values import as_flag, as_number, four_numbers
from visionattn.data.records import PackedStrings
from visionattn.errors import DataError

NO_MASK = "objects without a mask"
BAD_MASK = "invalid masks"
OUTSIDE = "boxes outside their image"
_ODD_ID = "annotations whose id is missing or occurs twice, which are numbered anew"


@dataclass(slots=True)
class CocoObject:
    """An annotation whose image and category are known and whose box is four finite numbers.

    Attributes:
        image: index of the image.
        label: of the category.
        box: x, y, width, height in pixels.
        area: in square pixels.
        crowd: whether it stands for a group of objects.
        segmentation: None without a mask that can be drawn.
        flaw: why it cannot be a target of training; empty if nothing is wrong.
        where: the annotation, for messages.
    """

    image: int
    label: int
    box: list[float]
    area: float
    crowd: bool
    segmentation: Segmentation | None
    flaw: str
    where: str


class ObjectReader:
    """Reads the objects of a file; what is mended, left out or without a mask is counted.

    Args:
        file: the annotation file.
        masks: look at masks too.

    Attributes:
        unmasked: objects without a mask that can be drawn, by reason.
    """

    def __init__(self, file: CocoFile, masks: bool = True) -> None:
        self.file, self.masks, self.unmasked = file, masks, Tally()

    def read(self) -> Iterator[CocoObject]:
        """Yield the objects in the order of the file."""
        seen: set[Any] = set()
        for annotation in self.file.annotations:
            self._note_id(annotation.get("id"), seen)
            index = self.file.image_of(annotation)
            if index is None:
                continue
            where = f"annotation {annotation.get('id')}"
            label = self.file.label_of(annotation)
            if label is None:
                self.file.dropped.add(NO_CATEGORY, f"{where}: category_id {annotation.get('category_id')}")
                continue
            segmentation = self._mask(annotation, self.file.images[index], where)
            box = self._box(annotation.get("bbox"), segmentation, self.file.images[index], where)
            if box is None:
                continue
            crowd, image = self._crowd(annotation, where), self.file.images[index]
            area = self._area(annotation, box, segmentation, image, where)
            flaw = _flaw(box, image)
            if flaw and not crowd:
                place = f" in {image.height}x{image.width}" if flaw == OUTSIDE else ""
                self.file.dropped.add(flaw, f"{where}: bbox {box}{place}")
            yield CocoObject(index, label, box, area, crowd, segmentation, flaw, where)

    def _note_id(self, number: Any, seen: set[Any]) -> None:
        number = number if isinstance(number, (int, str, float)) else None
        if number is None or number in seen:
            self.file.repaired.add(_ODD_ID, f"id {number}")
        seen.add(number)

    def _mask(self, annotation: dict[str, Any], image: CocoImage, where: str) -> Segmentation | None:
        if not self.masks:
            return None
        usable, repair, fault = mended(annotation.get("segmentation"), image.height, image.width)
        if repair:
            self.file.repaired.add(repair, where)
        elif usable is None:
            self.unmasked.add(BAD_MASK if fault else NO_MASK, f"{where}: {fault or 'no segmentation'}")
        return usable

    def _box(self, given: Any, mask: Segmentation | None, image: CocoImage, where: str) -> list[float] | None:
        """Four finite numbers; None: it is counted as left out."""
        if type(given) is list and len(given) == 4 and all(type(value) in (int, float) for value in given):
            if all(-math.inf < value < math.inf for value in given):
                return given
            self.file.dropped.add("boxes that are not finite", f"{where}: bbox {given}")
            return None
        if given in (None, [], "") and mask is not None:
            self.file.repaired.add("boxes that are missing, which are drawn around the masks", where)
            box: list[float] = coco_mask.toBbox([to_runs(mask, image.height, image.width)])[0].tolist()
            return box
        numbers = four_numbers(given)
        if numbers is None:
            self.file.dropped.add("boxes that are not four numbers", f"{where}: bbox {given}")
        else:
            self.file.repaired.add("boxes that are written as text", f"{where}: bbox {given}")
        return numbers

    def _crowd(self, annotation: dict[str, Any], where: str) -> bool:
        value = annotation.get("iscrowd", 0)
        flag = as_flag(value)
        if flag is None or value not in (0, 1):
            self.file.repaired.add("iscrowd values that are neither 0 nor 1", f"{where}: iscrowd {value!r}")
        return bool(flag)

    def _area(
        self, annotation: dict[str, Any], box: list[float], mask: Segmentation | None, image: CocoImage, where: str
    ) -> float:
        """The area that is stated, else that of the mask, else that of the box."""
        value = annotation.get("area")
        area = as_number(value)
        if area is not None and area >= 0:
            if isinstance(value, str):
                self.file.repaired.add("areas that are written as text", f"{where}: area {value!r}")
            return float(area)
        self.file.repaired.add("areas that are missing, computed from the mask or the box", f"{where}: area {value!r}")
        if mask is not None:
            return float(coco_mask.area(to_runs(mask, image.height, image.width)))
        return max(box[2], 0.0) * max(box[3], 0.0)


def _flaw(box: list[float], image: CocoImage) -> str:
    left, top, width, height = box
    if width <= 0 or height <= 0:
        return "boxes without width or height"
    if left >= image.width or top >= image.height or left + width <= 0 or top + height <= 0:
        return OUTSIDE
    return ""


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
        reasons = [str(file.dropped)] if file.dropped.counts else []
        reasons += [f"{crowds:,} crowds"] if crowds else []
        found = f"{file.listed:,} annotations and {len(file.images):,} images"
        raise DataError(
            f"{path} lists no image{'' if empty_images else ' with objects'}: of {found}, left out are "
            f"{'; '.join(reasons) or 'none'}"
        )
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
