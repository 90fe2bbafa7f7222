"""Writing of YOLO's layout: images/<split>, labels/<split>, data.yaml."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import yaml

from visionattn.data.detection.convert.content import Conversion, Picture
from visionattn.data.detection.convert.polygons import as_polygons, joined
from visionattn.data.detection.formats.content import enclosing_box
from visionattn.errors import DataError

CROWDS = "crowds (left out; YOLO's labels have no such mark)"
PARTS = "masks of several parts (joined into one polygon)"
RUNS = "masks of run lengths (become polygons along the borders of their pixels)"
BOXES = "boxes that are not those around their polygons (the polygons are kept)"
EMPTY = "objects without width, height or a pixel of mask (left out)"
IDS = "image ids (images are known by their names)"


def files(made: Conversion) -> dict[str, str]:
    """Path below the new folder -> text of every file but the images; losses are counted.

    Raises:
        DataError: two images of a split would share a label file.
    """
    written: dict[str, str] = {}
    for split, pictures in made.splits.items():
        made.losses[IDS] += len(pictures)
        for picture in pictures:
            path = PurePosixPath("labels", split, picture.name).with_suffix(".txt").as_posix()
            if path in written:
                raise DataError(f"two {split} images named {PurePosixPath(path).stem} would share {path}; rename one")
            written[path] = "".join(f"{line}\n" for line in _lines(picture, made))
    content: dict[str, Any] = {split: f"images/{split}" for split in made.splits}
    content["names"] = dict(enumerate(made.names))
    if made.ids != list(range(len(made.ids))):
        content["category_ids"] = made.ids  # other tools ignore it; reading it gives the data set's own numbers back
    return written | {"data.yaml": yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}


def image_paths(made: Conversion, split: str) -> list[str]:
    """Where the images of a split go, below the new folder."""
    return [f"images/{split}/{picture.name}" for picture in made.splits[split]]


def _lines(picture: Picture, made: Conversion) -> list[str]:
    lines = []
    for one in picture.objects:
        if one.get("iscrowd"):
            made.losses[CROWDS] += 1
            continue
        values = _fractions(one, picture, made)
        if values is None:
            made.losses[EMPTY] += 1
        else:
            numbers = " ".join(f"{value:.9f}".rstrip("0").rstrip(".") for value in values)
            lines.append(f"{made.labels[one['category_id']]} {numbers}")
    return lines


def _fractions(one: dict[str, Any], picture: Picture, made: Conversion) -> list[float] | None:
    x, y, width, height = one["bbox"]
    if width <= 0 or height <= 0:
        return None
    edges = (picture.width, picture.height)
    mask = one.get("segmentation")
    if not mask:
        box = (x + width / 2, y + height / 2, width, height)
        return [value / edges[i % 2] for i, value in enumerate(box)]
    made.losses[RUNS] += isinstance(mask, dict)
    polygons = as_polygons(mask, picture.height, picture.width)
    if not polygons:
        return None
    made.losses[PARTS] += len(polygons) > 1
    around = enclosing_box(polygons)
    made.losses[BOXES] += any(abs(a - b) > 1 for a, b in zip(around, one["bbox"], strict=True))
    return [min(max(value / edges[i % 2], 0.0), 1.0) for i, value in enumerate(joined(polygons))]
