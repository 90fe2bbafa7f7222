"""COCO's panoptic annotation file, read once, checked, and stored in arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.detection.annotations import Dropped, categories, read_json
from visionattn.data.panoptic.maps import LARGEST
from visionattn.data.records import PackedStrings
from visionattn.errors import DataError


@dataclass
class PanopticAnnotations:
    """One split. Images are in the order of the file; segments of image i are rows first[i] to first[i + 1].

    Attributes:
        names: file names of images.
        maps: file names of panoptic maps.
        image_ids: int64 ``(I,)``.
        sizes: int64 ``(I, 2)``, (height, width).
        category_ids: sparse number of label 0, 1, ... in the file, in rising order.
        class_names: of the same labels.
        things: whether objects of each label are counted (things) or not (stuff).
        first: int64 ``(I + 1,)``.
        numbers: id of each segment in its map, int64 ``(M,)``.
        labels: int64 ``(M,)``.
        crowds: bool ``(M,)``.
        dropped: images that are left out, by reason.
    """

    names: PackedStrings
    maps: PackedStrings
    image_ids: np.ndarray
    sizes: np.ndarray
    category_ids: list[int]
    class_names: list[str]
    things: list[bool]
    first: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray
    crowds: np.ndarray
    dropped: Dropped


def things_of(content: dict[str, Any], path: Path) -> list[bool]:
    """``isthing`` of the categories, in rising order of their ids.

    Raises:
        DataError: a category lacks it; the file is of another kind, mostly one of instances.
    """
    ordered = sorted(content["categories"], key=lambda category: int(category["id"]))
    silent = [str(category["name"]) for category in ordered if category.get("isthing") not in (0, 1)]
    if silent:
        raise DataError(
            f"{path} is not a panoptic annotation file: categories without isthing: {', '.join(silent[:5])}"
        )
    return [bool(category["isthing"]) for category in ordered]


def problems(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield (annotation, what is wrong or "", details) for every annotation, and for images that have none."""
    images = {image["id"] for image in content["images"]}
    known = {category["id"] for category in content["categories"]}
    seen: set[Any] = set()
    for annotation in content["annotations"]:
        number = annotation.get("image_id")
        if number not in images:
            yield annotation, "annotations whose image_id is unknown", f"image_id {number}"
        elif number in seen:
            yield annotation, "second annotations of an image", f"image_id {number}"
        else:
            what, details = _problem(annotation, known)
            yield annotation, what, f"image_id {number}: {details}"
        seen.add(number)
    for number in images - seen:
        yield {"image_id": number}, "images without annotation", f"image_id {number}"


def _problem(annotation: dict[str, Any], known: set[Any]) -> tuple[str, str]:
    segments, name = annotation.get("segments_info"), annotation.get("file_name")
    if not isinstance(name, str) or not isinstance(segments, list):
        return "annotations without file_name or segments_info", f"file_name {name}"
    numbers = [segment.get("id") for segment in segments]
    wrong = [number for number in numbers if not isinstance(number, int) or not 0 < number <= LARGEST]
    if wrong:
        return f"segments with an id outside 1..{LARGEST}", f"id {wrong[0]}"
    if len(set(numbers)) < len(numbers):
        return "segments with an id that occurs twice", f"ids {sorted(numbers)[:8]}"
    strange = [segment.get("category_id") for segment in segments if segment.get("category_id") not in known]
    return ("unknown categories", f"category_id {strange[0]}") if strange else ("", "")


def read_annotations(path: Path, empty_images: bool = True) -> PanopticAnnotations:
    """Read and check one split.

    Args:
        path: the JSON file.
        empty_images: keep images whose segments are all crowds, or that have none.

    Raises:
        DataError: missing, no JSON, no panoptic annotations, or no image is left.
    """
    content = read_json(path)
    ids, class_names = categories(content, path)
    things, label_of = things_of(content, path), {n: label for label, n in enumerate(ids)}
    of_image, dropped = _by_image(content)
    images = [image for image in content["images"] if image["id"] in of_image]
    if not empty_images:
        images = [i for i in images if any(not s.get("iscrowd") for s in of_image[i["id"]]["segments_info"])]
    if not images:
        raise DataError(f"{path} lists no image{'' if empty_images else ' with segments'} ({dropped or 'none at all'})")
    notes = [of_image[image["id"]] for image in images]
    segments = [segment for note in notes for segment in note["segments_info"]]
    counts = [len(note["segments_info"]) for note in notes]
    return PanopticAnnotations(
        PackedStrings(image["file_name"] for image in images),
        PackedStrings(note["file_name"] for note in notes),
        np.array([image["id"] for image in images], np.int64),
        np.array([(image["height"], image["width"]) for image in images], np.int64),
        ids,
        class_names,
        things,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([segment["id"] for segment in segments], np.int64),
        np.array([label_of[segment["category_id"]] for segment in segments], np.int64),
        np.array([bool(segment.get("iscrowd")) for segment in segments], bool),
        dropped,
    )


def _by_image(content: dict[str, Any]) -> tuple[dict[Any, dict[str, Any]], Dropped]:
    """Image id to its annotation, without the wrong ones; and those, counted."""
    of_image: dict[Any, dict[str, Any]] = {}
    dropped = Dropped()
    for annotation, what, details in problems(content):
        if what:
            dropped.add(what, details)
        else:
            of_image[annotation["image_id"]] = annotation
    return of_image, dropped
