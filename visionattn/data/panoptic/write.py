"""Panoptic annotations and results as files: a folder of PNG maps and a JSON file, in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    notes = []
    for one in files:
        (folder / one.name).write_bytes(one.content)
        notes.append({"image_id": one.image_id, "file_name": one.name, "segments_info": one.segments})
    content = {**more, "annotations": notes, "categories": [dict(category) for category in categories]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    return len(notes)
