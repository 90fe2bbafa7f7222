"""Writing of Pascal VOC's layout: Annotations, JPEGImages, ImageSets/Main, and labels.txt with the order of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree

from visionattn.data.detection.convert.content import Conversion, Picture
from visionattn.errors import DataError

CROWD_MASKS = "masks of crowds (only their boxes are kept, marked as difficult)"
RUNS = "masks of run lengths (left out; their boxes are kept)"
EMPTY = "objects without width or height (left out)"
IDS = "image ids (images are known by their names)"
CATEGORY_IDS = "category ids (classes are known by their names)"
FOLDERS = "images in folders (VOC has one folder; their names get the folder's in front)"
SPLITS = "images whose name occurs in several splits (their names get the split's in front)"


def files(made: Conversion) -> dict[str, str]:
    """Path below the new folder -> text of every file but the images; losses are counted.

    Raises:
        DataError: two images would share an annotation file.
    """
    written: dict[str, str] = {}
    if made.ids != list(range(len(made.ids))):
        made.losses[CATEGORY_IDS] += len(made.ids)
    for split, pictures in made.splits.items():
        made.losses[IDS] += len(pictures)
        stems = []
        for picture, name in zip(pictures, _names(made, split), strict=True):
            made.losses[FOLDERS] += "/" in picture.name
            made.losses[SPLITS] += name != _flat(picture)
            stem = PurePosixPath(name).stem
            path = f"Annotations/{stem}.xml"
            if path in written:
                raise DataError(f"two images named {stem} would share {path}; rename one of them")
            written[path] = _xml(picture, name, made)
            stems.append(stem)
        written[f"ImageSets/Main/{split}.txt"] = "".join(f"{stem}\n" for stem in stems)
    return written | {"labels.txt": "".join(f"{name}\n" for name in made.names)}


def image_paths(made: Conversion, split: str) -> list[str]:
    """Where the images of a split go, below the new folder."""
    return [f"JPEGImages/{name}" for name in _names(made, split)]


def _names(made: Conversion, split: str) -> list[str]:
    """File names in VOC's one folder; those that another split has too get the split's name in front."""
    elsewhere = {
        PurePosixPath(_flat(picture)).stem
        for other, pictures in made.splits.items()
        if other != split
        for picture in pictures
    }
    flat = [_flat(picture) for picture in made.splits[split]]
    return [f"{split}_{name}" if PurePosixPath(name).stem in elsewhere else name for name in flat]


def _flat(picture: Picture) -> str:
    return picture.name.replace("/", "_")


def _xml(picture: Picture, name: str, made: Conversion) -> str:
    root = ElementTree.Element("annotation")
    _child(root, "folder", "JPEGImages")
    _child(root, "filename", name)
    size = _child(root, "size")
    for edge, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
        _child(size, edge, str(value))
    for one in picture.objects:
        if one["bbox"][2] <= 0 or one["bbox"][3] <= 0:
            made.losses[EMPTY] += 1
        else:
            _object(root, one, made)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _object(root: ElementTree.Element, one: dict[str, Any], made: Conversion) -> None:
    node = _child(root, "object")
    _child(node, "name", made.names[made.labels[one["category_id"]]])
    _child(node, "difficult", str(int(bool(one.get("iscrowd")))))
    x, y, width, height = one["bbox"]
    box = _child(node, "bndbox")  # the first pixel is 1, and the last one belongs to the box
    for corner, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + width), ("ymax", y + height)):
        _child(box, corner, _number(value))
    mask = one.get("segmentation")
    if isinstance(mask, dict):
        made.losses[CROWD_MASKS if one.get("iscrowd") else RUNS] += 1
    elif mask:
        for polygon in mask:
            _polygon(node, polygon)


def _polygon(node: ElementTree.Element, polygon: Sequence[float]) -> None:
    """Roboflow's element; tools that do not know it skip it."""
    points = _child(node, "polygon")
    for i in range(0, len(polygon), 2):
        _child(points, f"x{i // 2 + 1}", _number(polygon[i] + 1))
        _child(points, f"y{i // 2 + 1}", _number(polygon[i + 1] + 1))


def _child(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = text
    return child


def _number(value: float) -> str:
    """At most three decimals, none where the number is whole."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
