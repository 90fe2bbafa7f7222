"""One Pascal VOC annotation file: an image with its objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from visionattn.data.detection.formats.content import Size
from visionattn.errors import DataError

_TRUE = ("1", "true", "yes")


@dataclass(frozen=True)
class VocObject:
    """An object as the file has it.

    Attributes:
        name: of its class.
        corners: xmin, ymin, xmax, ymax, as written; None where they are no numbers.
        difficult: whether it is marked as difficult.
        polygons: x0, y0, x1, y1, ... as some tools write them beside the box.
        text: of the box, for messages.
    """

    name: str
    corners: tuple[float, float, float, float] | None
    difficult: bool
    polygons: tuple[tuple[float, ...], ...]
    text: str


@dataclass(frozen=True)
class VocImage:
    """The contents of a file.

    Attributes:
        file_name: as written; empty where it is not.
        size: (height, width) as written; None where it is not, or zero.
        objects: in the order of the file.
    """

    file_name: str
    size: Size | None
    objects: tuple[VocObject, ...]


def read_xml(path: Path) -> VocImage:
    """Read a file.

    Raises:
        DataError: it cannot be read, is no XML, is no VOC annotation, or declares a document type (which VOC does not,
            and which could name other files or grow without bound).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DataError(f"{path} declares a document type, which VOC annotations do not have; remove the declaration")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not valid XML: {error}") from None
    if root.tag != "annotation":
        raise DataError(f"{path} is not a VOC annotation: its root is <{root.tag}>, expected <annotation>")
    file_name = Path((root.findtext("filename") or "").strip().replace("\\", "/")).name
    return VocImage(file_name, _size(root), tuple(_objects(root)))


def class_names(path: Path) -> set[str]:
    """Names of the classes in a file."""
    return {one.name for one in read_xml(path).objects}


def _size(root: ElementTree.Element) -> Size | None:
    height, width = (_number(root.findtext(f"size/{edge}")) for edge in ("height", "width"))
    if not height or not width or height < 0 or width < 0 or height != int(height) or width != int(width):
        return None
    return int(height), int(width)


def _objects(root: ElementTree.Element) -> Iterator[VocObject]:
    for node in root.iter("object"):
        box = [node.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
        numbers = [number for number in map(_number, box) if number is not None]
        corners = (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None
        difficult = (node.findtext("difficult") or "0").strip().lower() in _TRUE
        name = (node.findtext("name") or "").strip()
        yield VocObject(name, corners, difficult, tuple(_polygons(node)), ", ".join(str(value) for value in box))


def _polygons(node: ElementTree.Element) -> Iterator[tuple[float, ...]]:
    """Roboflow's and our own elements <polygon> with x1, y1, x2, y2, ..."""
    for polygon in node.findall("polygon"):
        values = []
        for i in range(1, len(polygon) // 2 + 1):
            x, y = _number(polygon.findtext(f"x{i}")), _number(polygon.findtext(f"y{i}"))
            if x is None or y is None:
                break
            values += [x, y]
        if len(values) >= 6:
            yield tuple(values)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and value - value == 0 else None
