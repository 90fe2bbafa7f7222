"""COCO's panoptic annotation file, read once, checked, and stored in arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.detection.coco_file import NO_CATEGORY, CocoFile, CocoImage, read_coco
from visionattn.data.detection.tally import Tally
from visionattn.data.detection.values import as_flag, as_number, as_text, as_whole
from visionattn.data.panoptic.maps import LARGEST
from visionattn.data.panoptic.write import map_name
from visionattn.data.records import PackedStrings
from visionattn.errors import DataError


@dataclass
class PanopticAnnotations:
    """One split. Images are in the order of the file; segments of image i are rows first[i] to first[i + 1].

    Attributes:
        names: file names of images.
        maps: file names of panoptic maps.
        image_ids: number of each image, int64 ``(I,)``; the file's id where all ids are whole numbers.
        file_ids: the file's id of each image.
        sizes: int64 ``(I, 2)``, (height, width).
        category_ids: the file's id of label 0, 1, ..., in rising order.
        class_names: of the same labels.
        things: whether objects of each label are counted (things) or not (stuff).
        first: int64 ``(I + 1,)``.
        numbers: id of each segment in its map, int64 ``(M,)``.
        labels: int64 ``(M,)``.
        crowds: bool ``(M,)``.
        areas: that the file states, float64 ``(M,)``; NaN where it states none.
        dropped: images that are left out, by reason.
        repaired: what was mended.
        listed: annotations in the file.
    """

    names: PackedStrings
    maps: PackedStrings
    image_ids: np.ndarray
    file_ids: list[Any]
    sizes: np.ndarray
    category_ids: list[Any]
    class_names: list[str]
    things: list[bool]
    first: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray
    crowds: np.ndarray
    areas: np.ndarray
    dropped: Tally
    repaired: Tally
    listed: int


@dataclass(slots=True)
class PanopticEntry:
    """The annotation of an image: the name of its map, and the segments' ids, labels and crowds."""

    map_name: str
    numbers: list[int]
    labels: list[int]
    crowds: list[bool]
    areas: list[float | None]


def things_of(file: CocoFile) -> list[bool]:
    """``isthing`` of the categories, in rising order of their ids.

    Raises:
        DataError: a category lacks it; the file is of another kind, mostly one of instances.
    """
    silent = [category.name for category in file.categories if category.thing is None]
    if silent:
        raise DataError(
            f"{file.path} is not a panoptic annotation file: categories without isthing: {', '.join(silent[:5])}"
        )
    return [bool(category.thing) for category in file.categories]


def read_entries(file: CocoFile) -> dict[int, PanopticEntry]:
    """Index of an image to its annotation. What is wrong is counted in the file, and images that have none."""
    entries: dict[int, PanopticEntry] = {}
    seen: set[int] = set()
    for annotation in file.annotations:
        index = file.image_of(annotation)
        if index is None:
            continue
        where = f"image_id {annotation.get('image_id')}"
        if index in seen:
            file.dropped.add("second annotations of an image", where)
            continue
        seen.add(index)
        entry = _entry(file, annotation, file.images[index], where)
        if entry is not None:
            entries[index] = entry
    for index, image in enumerate(file.images):
        if index not in seen:
            file.dropped.add("images without annotation", f"image_id {image.id}")
    return entries


def _entry(file: CocoFile, annotation: dict[str, Any], image: CocoImage, where: str) -> PanopticEntry | None:
    listed, name = annotation.get("segments_info"), as_text(annotation.get("file_name"))
    if not isinstance(listed, list):
        file.dropped.add("annotations without file_name or segments_info", f"{where}: file_name {name}")
        return None
    if name is None:
        name = map_name(image.name)
        file.repaired.add("annotations without file_name, whose map is named as the image", f"{where}: {name}")
    segments = [segment for segment in listed if isinstance(segment, dict)]
    if len(segments) < len(listed):
        file.repaired.add("entries of segments_info that are no objects, which are left out", where)
    numbers = [_number(file, segment.get("id"), where) for segment in segments]
    labels = [file.label_of(segment) for segment in segments]
    wrong = [segment.get("id") for segment, n in zip(segments, numbers, strict=True) if not 0 < n <= LARGEST]
    strange = [segment.get("category_id") for segment, label in zip(segments, labels, strict=True) if label is None]
    if wrong:
        file.dropped.add(f"segments with an id outside 1..{LARGEST}", f"{where}: id {wrong[0]}")
    elif len(set(numbers)) < len(numbers):
        file.dropped.add("segments with an id that occurs twice", f"{where}: ids {sorted(numbers)[:8]}")
    elif strange:
        file.dropped.add(NO_CATEGORY, f"{where}: category_id {strange[0]}")
    else:
        crowds = [_crowd(file, segment, where) for segment in segments]
        known = [label for label in labels if label is not None]
        return PanopticEntry(name, numbers, known, crowds, [as_number(segment.get("area")) for segment in segments])
    return None


def _number(file: CocoFile, value: Any, where: str) -> int:
    """The id of a segment; 0 for what is none."""
    if type(value) is int:
        return value
    number = as_whole(value)
    if number is not None:
        file.repaired.add("ids of segments that are no integers", f"{where}: id {value!r}")
    return number or 0


def _crowd(file: CocoFile, segment: dict[str, Any], where: str) -> bool:
    value = segment.get("iscrowd", 0)
    flag = as_flag(value)
    if flag is None or value not in (0, 1):
        file.repaired.add("iscrowd values that are neither 0 nor 1", f"{where}: iscrowd {value!r}")
    return bool(flag)


def read_annotations(
    content: dict[str, Any], path: Path, empty_images: bool = True, folder: Path | None = None
) -> PanopticAnnotations:
    """Check one split and store it in arrays.

    Args:
        content: of the JSON file.
        path: the file, for messages.
        empty_images: keep images whose segments are all crowds, or that have none.
        folder: of the images, for sizes that the file does not state.

    Raises:
        DataError: no panoptic annotations, or no image is left.
    """
    file = read_coco(content, path, folder)
    things, entries = things_of(file), read_entries(file)
    chosen = [i for i in range(len(file.images)) if i in entries and (empty_images or not all(entries[i].crowds))]
    if not chosen:
        what = "image" if empty_images else "image with segments"
        raise DataError(f"{path} lists no {what} ({file.dropped.explained() or 'none at all'})")
    images, notes = [file.images[i] for i in chosen], [entries[i] for i in chosen]
    return PanopticAnnotations(
        PackedStrings(image.name for image in images),
        PackedStrings(note.map_name for note in notes),
        np.array([image.number for image in images], np.int64),
        [image.id for image in images],
        np.array([(image.height, image.width) for image in images], np.int64),
        file.category_ids,
        file.class_names,
        things,
        np.concatenate([[0], np.cumsum([len(note.labels) for note in notes])]).astype(np.int64),
        np.array([number for note in notes for number in note.numbers], np.int64),
        np.array([label for note in notes for label in note.labels], np.int64),
        np.array([crowd for note in notes for crowd in note.crowds], bool),
        np.array([np.nan if area is None else area for note in notes for area in note.areas], np.float64),
        file.dropped,
        file.repaired,
        file.listed,
    )
