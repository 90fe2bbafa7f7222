"""The one form that annotations of every box format are brought into: COCO's, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from visionattn.data.classes import not_among
from visionattn.data.detection.masks import Segmentation
from visionattn.data.detection.tally import Tally
from visionattn.data.names import EXTENSIONS
from visionattn.errors import DataError

Size = tuple[int, int]
"""(height, width)."""
UNKNOWN_SIZE: Size = (1, 1)
"""Stands for the size of an image that cannot be read: it stays in the list, so that the budget counts it."""


class Content:
    """Images and objects of one split, in COCO's form.

    Args:
        names: of the classes, in the order of their labels.
        ids: number of each class in the data set; None: its label.

    Attributes:
        dropped: what the reader left out, by reason, with file and line.
        told: sentences about what the reader took for granted.
    """

    def __init__(self, names: Sequence[str], ids: Sequence[int] | None = None) -> None:
        self.ids = list(range(len(names))) if ids is None else list(ids)
        self.names = list(names)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.dropped = Tally()
        self.told: list[str] = []

    def add_image(self, file_name: str, size: Size, **more: Any) -> int:
        """Add an image and return its id, counted from 1."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": file_name, "height": size[0], "width": size[1], **more})
        return number

    def add_object(
        self,
        image_id: int,
        label: int,
        box: Sequence[float],
        segmentation: Segmentation | None = None,
        area: float | None = None,
        crowd: bool = False,
    ) -> None:
        """Add an object.

        Args:
            image_id: of its image.
            label: of its class.
            box: x, y, width and height in pixels.
            segmentation: its mask; None: it has none.
            area: of the mask; None: that of the polygons, else of the box.
            crowd: whether detections of it are neither right nor wrong.
        """
        if area is None:
            area = polygon_area(segmentation) if isinstance(segmentation, list) else float(box[2]) * float(box[3])
        entry: dict[str, Any] = {"id": len(self.annotations) + 1, "image_id": image_id, "category_id": self.ids[label]}
        entry |= {"bbox": [float(value) for value in box], "area": area, "iscrowd": int(crowd)}
        self.annotations.append(entry if segmentation is None else entry | {"segmentation": segmentation})

    def label_of(self, name: str, where: str | Path) -> int:
        """The label of a class.

        Args:
            name: of the class.
            where: the file that names it.

        Raises:
            DataError: it is none of the classes; says how all are listed.
        """
        if name not in self.names:
            raise DataError(f"{where}: {not_among(name, self.names)}")
        return self.names.index(name)

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return any("segmentation" in annotation for annotation in self.annotations)

    def as_coco(self) -> dict[str, Any]:
        """COCO's three lists."""
        categories = [{"id": number, "name": name} for number, name in zip(self.ids, self.names, strict=True)]
        return {"images": self.images, "annotations": self.annotations, "categories": categories}


def polygon_area(polygons: Iterable[Sequence[float]]) -> float:
    """Area that polygons x0, y0, x1, y1, ... enclose, in square pixels."""
    total = 0.0
    for polygon in polygons:
        x, y = polygon[0::2], polygon[1::2]
        total += abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2
    return total


def enclosing_box(polygons: Iterable[Sequence[float]]) -> list[float]:
    """x, y, width and height of the smallest box around polygons."""
    points = [(polygon[i], polygon[i + 1]) for polygon in polygons for i in range(0, len(polygon), 2)]
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return [left, top, max(x for x, _ in points) - left, max(y for _, y in points) - top]


def image_files(folder: Path, deep: bool = True) -> list[Path]:
    """Image files of a folder in the order of their names, without hidden files and folders.

    Args:
        folder: to look in.
        deep: look in its folders too.
    """
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in EXTENSIONS
        and not any(part.startswith((".", "@")) for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def listing(folder: Path) -> str:
    """The first names of a folder, for messages."""
    if not folder.is_dir():
        return f"{folder} does not exist"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return f"{folder} holds {', '.join(names[:12]) or 'nothing'}{', ...' if len(names) > 12 else ''}"


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: missing, or in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
