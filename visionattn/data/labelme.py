"""labelme's annotation files: one JSON file for each image, with shapes that somebody drew."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

BACKGROUND, NOWHERE = "_background_", "__ignore__"
"""labelme's own labels: what is no object, and pixels that count nowhere."""
_AREAS = ("polygon", "rectangle", "circle", "mask")
_CORNERS = 64
Point = tuple[float, float]
"""x, y in pixels."""


@dataclass(frozen=True)
class Shape:
    """One shape of a file.

    Attributes:
        label: of its class.
        kind: ``polygon``, ``rectangle``, ``circle``, ``mask``, ``line``, ``linestrip``, ``point`` or ``points``.
        points: as written: two corners of a rectangle and of the place of a mask, a circle's center and rim.
        group: shapes of one label and group are parts of one object; None: an object of its own.
        mask: bool ``(H, W)`` of the place of a mask; else None.
    """

    label: str
    kind: str
    points: tuple[Point, ...]
    group: Any = None
    mask: np.ndarray | None = None

    @property
    def has_area(self) -> bool:
        """Whether it encloses something: lines and points do not."""
        least = 3 if self.kind == "polygon" else 2
        return self.kind in _AREAS and len(self.points) >= least and (self.kind != "mask" or self.mask is not None)

    @property
    def outline(self) -> list[float]:
        """The polygon x0, y0, x1, y1, ... around it: that of a rectangle has four corners, of a circle 64."""
        if self.kind == "polygon":
            return [value for point in self.points for value in point]
        (x0, y0), (x1, y1) = self.points[:2]
        if self.kind != "circle":
            return [x0, y0, x1, y0, x1, y1, x0, y1]
        radius, turn = math.hypot(x1 - x0, y1 - y0), 2 * math.pi / _CORNERS
        rim = ((x0 + radius * math.cos(i * turn), y0 + radius * math.sin(i * turn)) for i in range(_CORNERS))
        return [value for point in rim for value in point]

    def paint(self, height: int, width: int) -> np.ndarray:
        """A mask's own pixels in the whole image, bool ``(H, W)``; what lies outside of it is cut off."""
        assert self.mask is not None
        whole = np.zeros((height, width), bool)
        left, top = (round(min(point[axis] for point in self.points)) for axis in (0, 1))
        own = self.mask[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
        whole[max(top, 0) :, max(left, 0) :][: own.shape[0], : own.shape[1]] = own
        return whole


@dataclass(frozen=True)
class LabelmeImage:
    """The contents of a file.

    Attributes:
        file_name: of the image, without its folder; empty where it is not written.
        size: (height, width) as written; None where it is not.
        shapes: in the order of the file.
    """

    file_name: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]

    def objects(self) -> list[list[Shape]]:
        """The shapes that enclose something, parts of one object together, without labelme's own labels."""
        found: dict[Any, list[Shape]] = {}
        for index, one in enumerate(self.shapes):
            if one.has_area and one.label not in (BACKGROUND, NOWHERE):
                found.setdefault((index,) if one.group is None else (one.label, str(one.group)), []).append(one)
        return list(found.values())


def read_labelme(path: Path) -> LabelmeImage:
    """Read a file.

    Raises:
        DataError: it cannot be read, or is none of labelme's.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{path} is no file of labelme: it has no list of shapes")
    name = Path(str(content.get("imagePath") or "").replace("\\", "/")).name
    edges = [content.get(key) for key in ("imageHeight", "imageWidth")]
    stated = all(isinstance(edge, int) and not isinstance(edge, bool) and edge > 0 for edge in edges)
    shapes = (_shape(path, number, one) for number, one in enumerate(content["shapes"], 1))
    return LabelmeImage(name, (edges[0], edges[1]) if stated else None, tuple(shapes))  # type: ignore[arg-type]


def _shape(path: Path, number: int, content: Any) -> Shape:
    label = content.get("label") if isinstance(content, Mapping) else None
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"{path}: shape {number} has no label")
    kind = str(content.get("shape_type") or "polygon")
    points = _points(content.get("points"))
    if points is None:
        raise DataError(f"{path}: the points of shape {number} ({label}) are no pairs of numbers")
    mask = _mask(path, number, content.get("mask")) if kind == "mask" else None
    return Shape(label.strip(), kind, points, content.get("group_id"), mask)


def _points(content: Any) -> tuple[Point, ...] | None:
    """Pairs of finite numbers; None for anything else."""
    try:
        points = [(float(x), float(y)) for x, y in content]
    except (TypeError, ValueError):
        return None
    return tuple(points) if all(math.isfinite(value) for point in points for value in point) else None


def _mask(path: Path, number: int, content: Any) -> np.ndarray:
    from visionattn.data.segmentation.mask_files import decode_mask

    try:
        return decode_mask(base64.b64decode(content, validate=True)) > 0
    except (binascii.Error, TypeError, ValueError, UnreadableImage, DataError) as error:
        raise DataError(f"{path}: the mask of shape {number} cannot be read: {error}") from None


def class_names(root: Path, files: Sequence[Path]) -> list[str]:
    """Names of the classes: those of ``labels.txt`` in ``root``, else of the shapes of files, in alphabetical order.

    Raises:
        DataError: there is none.
    """
    listed = root / "labels.txt"
    if listed.is_file():
        lines = (line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines())
        return [line for line in dict.fromkeys(lines) if line and line not in (BACKGROUND, NOWHERE)]
    found = set()
    for path in files:
        try:
            found |= {parts[0].label for parts in read_labelme(path).objects()}
        except DataError:  # counted where the file is read
            continue
    if not found:
        raise DataError(f"no shape of the {len(files)} files of labelme in {root} encloses an object")
    return sorted(found)
