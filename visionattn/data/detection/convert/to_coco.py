"""Writing of COCO's layout: <split>2017 and annotations/instances_<split>2017.json."""

from __future__ import annotations

import json
from typing import Any

from visionattn.data.detection.convert.content import Conversion
from visionattn.data.detection.formats.content import polygon_area


def files(made: Conversion) -> dict[str, str]:
    """Path below the new folder -> text of every file but the images; images and objects are numbered from 1."""
    categories = [{"id": number, "name": name} for number, name in zip(made.ids, made.names, strict=True)]
    written = {}
    for split, pictures in made.splits.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, picture in enumerate(pictures, 1):
            images.append({"id": number, "file_name": picture.name, "height": picture.height, "width": picture.width})
            for one in picture.objects:
                annotations.append(_annotation(one, number, len(annotations) + 1))
        content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
        written[f"annotations/instances_{split}2017.json"] = json.dumps(content)
    return written


def image_paths(made: Conversion, split: str) -> list[str]:
    """Where the images of a split go, below the new folder."""
    return [f"{split}2017/{picture.name}" for picture in made.splits[split]]


def _annotation(one: dict[str, Any], image_id: int, number: int) -> dict[str, Any]:
    mask, box = one.get("segmentation") or [], [round(float(value), 4) for value in one["bbox"]]
    area = one.get("area")
    if area is None:
        area = polygon_area(mask) if mask and isinstance(mask, list) else box[2] * box[3]
    if isinstance(mask, list):
        mask = [[round(float(value), 4) for value in polygon] for polygon in mask]
    kept = {"id": number, "image_id": image_id, "category_id": one["category_id"], "bbox": box, "area": area}
    return kept | {"segmentation": mask, "iscrowd": int(bool(one.get("iscrowd")))}
