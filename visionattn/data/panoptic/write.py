"""Panoptic annotations and results as files: a folder of PNG maps and a JSON file, in COCO's format."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class PanopticFile:
    """One picture's map. name: of the PNG file. content: its bytes. segments: its ``segments_info``."""

    image_id: int
    name: str
    content: bytes
    segments: list[dict[str, Any]]


def map_name(picture: str) -> str:
    """The map's file name for a picture's: the same with .png, as in COCO."""
    return f"{Path(picture).stem}.png"


def write_panoptic(
    folder: Path, file: Path, files: Iterable[PanopticFile], categories: Sequence[Mapping[str, Any]], **more: Any
) -> int:
    """Writes maps into a folder and what belongs to them into a JSON file; how many there were.

    Args:
        folder: for the PNG files.
        file: the JSON file; results have `annotations` and `categories`.
        files: one for each picture.
        categories: id, name, isthing.
        more: further keys of the JSON file, `images` for annotations.
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
