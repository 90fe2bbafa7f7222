"""Panoptic annotations and results as files: a folder of PNG maps and a JSON file, in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from visionattn.files import write_whole


@dataclass
class PanopticFile:
    """One image's map.

    Attributes:
        image_id: of the image.
        name: of the PNG file.
        content: of the PNG file.
        segments: ``segments_info`` of the map.
    """

    image_id: Any
    name: str
    content: bytes
    segments: list[dict[str, Any]]


def map_name(image_name: str) -> str:
    """The file name of an image's map: the image's with .png, as in COCO."""
    return f"{Path(image_name).stem}.png"


def write_panoptic(
    folder: Path, file: Path, files: Iterable[PanopticFile], categories: Sequence[Mapping[str, Any]], **more: Any
) -> int:
    """Write maps into a folder and their segments into a JSON file.

    Images of one name in two folders get two maps: the second one's name has a number behind it.

    Args:
        folder: for the PNG files.
        file: the JSON file; results have `annotations` and `categories`.
        files: one for each image.
        categories: id, name, isthing.
        more: further keys of the JSON file, ``images`` for annotations.

    Returns:
        The number of maps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes, taken = [], set[str]()
    for one in files:
        name = _free(one.name, taken)
        taken.add(name.lower())
        (folder / name).write_bytes(one.content)
        notes.append({"image_id": one.image_id, "file_name": name, "segments_info": one.segments})
    content = {**more, "annotations": notes, "categories": [dict(category) for category in categories]}
    write_whole(file, json.dumps(content, separators=(",", ":")) + "\n")
    return len(notes)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or the first one with a number behind it that is not taken."""
    stem, numbers = Path(name).stem, count(2)
    while name.lower() in taken:
        name = f"{stem}_{next(numbers)}.png"
    return name
