"""Open Images: boxes in tables, classes by codes, any part of its images."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from visionattn.data.detection.formats.content import Content, image_files, listing
from visionattn.data.detection.formats.sizes import shown_size
from visionattn.data.detection.formats.source import BoxSource
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.facts import AUTO
from visionattn.errors import DataError

FOLDERS = {"train": ("train",), "val": ("validation", "val", "valid"), "test": ("test",)}
_NEEDED = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_PLACES = (".", "annotations", "labels", "csv", "metadata")
_OTHER = "boxes of classes that the training images do not have"


@dataclass(frozen=True)
class _Row:
    line: int
    label: str
    corners: tuple[float, float, float, float] | None
    group: bool
    text: str


class OpenImages(BoxSource):
    """A part of Open Images (Kuznetsova et al. 2020, arXiv 1811.00982): the images that lie in the folders.

    Images are ``<split>/<ImageID>.jpg`` (or ``<split>/data/``, as FiftyOne stores them), boxes the rows of
    ``<split>-annotations-bbox.csv`` (``oidv6-train-annotations-bbox.csv``, ``<split>/labels/detections.csv``) in
    fractions of the image as it is shown. Rows of images that are not there are skipped. A box around a group
    (``IsGroupOf``) is not trained on, and in evaluation neither right nor wrong, by COCO's rule for crowds.

    Args:
        root: the folder.
        boxes: split -> table below root, where it has another name.
        descriptions: table of codes and names of classes; ``auto`` looks for ``class-descriptions*.csv``. Without one
            the codes are the names.
        class_names: names of the classes to use, in the order of their labels; None: all that the boxes of the training
            images have, in alphabetical order.
        empty_images: see :class:`BoxSource`.

    Raises:
        DataError: (on reading) a folder, table or column is missing.
    """

    def __init__(
        self,
        root: str,
        boxes: Mapping[str, str] | None = None,
        descriptions: str = AUTO,
        class_names: Sequence[str] | None = None,
        empty_images: bool = True,
    ) -> None:
        super().__init__(root, False, empty_images)
        self.boxes, self.descriptions = dict(boxes or {}), descriptions
        self.class_names = None if class_names is None else list(class_names)
        self._rows: dict[str, dict[str, list[_Row]]] = {}

    def files(self, split: str) -> list[Path]:
        folder = self._folder(split)
        return image_files(folder) if folder is not None else []

    def classes(self) -> list[str]:
        if self.class_names is None:
            codes = {row.label for rows in self.rows("train").values() for row in rows}
            self.class_names = sorted({self.names.get(code, code) for code in codes})
            if not self.class_names:
                raise DataError(f"{self.table('train')} has no box on the images in {self._folder('train')}")
        return self.class_names

    def masked_share(self) -> MaskedShare:
        return MaskedShare(0, 0)

    def notes(self) -> list[str]:
        return [f"layout: Open Images, the images that lie in {self.root} alone"]

    @cached_property
    def names(self) -> dict[str, str]:
        """Code of a class -> its name."""
        path = self.root / self.descriptions if self.descriptions != AUTO else self._found("*class-descriptions*.csv")
        if path is None:
            path = next((one for one in sorted(self.root.glob("*/metadata/classes.csv"))), None)
        if path is None:
            return {}
        return {row[0]: row[1].strip() for _, row in _lines(path) if len(row) >= 2 and row[0].startswith("/")}

    def read(self, split: str) -> tuple[Path, Path, Content]:
        folder, files = self._folder(split), self.files(split)
        if folder is None or not files:
            raise DataError(f"{self.root} has no images of {split}; {listing(folder or self.root)}")
        table, rows = self.table(split), self.rows(split)
        content = Content(self.classes())
        labels = {name: label for label, name in enumerate(content.names)}
        groups = 0
        for path in files:
            size = shown_size(path)
            number = content.add_image(path.relative_to(folder).as_posix(), size)
            for row in rows.get(path.stem, ()):
                where = f"{table} line {row.line}: {row.text}"
                name = self.names.get(row.label, row.label)
                if name not in labels:
                    content.dropped.add(_OTHER, where)
                elif row.corners is None:
                    content.dropped.add("boxes that are not four fractions of the image", where)
                else:
                    groups += row.group
                    _add(content, number, labels[name], row, size)
        without = sum(path.stem not in rows for path in files)
        if groups:
            content.told.append(f"{groups} boxes around groups count neither way (COCO's rule for crowds)")
        if without:
            content.told.append(f"{without} of {len(files)} images have no box in {table} and count as empty")
        return folder, table, content

    def rows(self, split: str) -> dict[str, list[_Row]]:
        """Boxes of the images that lie in the folder, by the image's id."""
        if split not in self._rows:
            wanted = {path.stem for path in self.files(split)}
            found: dict[str, list[_Row]] = {}
            for number, row in _table(self.table(split)):
                if row["ImageID"] in wanted:
                    found.setdefault(row["ImageID"], []).append(_row(number, row))
            self._rows[split] = found
        return self._rows[split]

    def table(self, split: str) -> Path:
        """The table of boxes of a split.

        Raises:
            DataError: there is none.
        """
        if split in self.boxes:
            return self.root / self.boxes[split]
        for name in FOLDERS[split]:
            if (self.root / name / "labels" / "detections.csv").is_file():
                return self.root / name / "labels" / "detections.csv"
            found = self._found(f"*{name}-annotations-bbox.csv")
            if found is not None:
                return found
        raise DataError(
            f"{self.root} has no table {FOLDERS[split][0]}-annotations-bbox.csv; name it in data.source.boxes.{split} "
            f"({listing(self.root)})"
        )

    def _found(self, pattern: str) -> Path | None:
        return next((path for place in _PLACES for path in sorted((self.root / place).glob(pattern))), None)

    def _folder(self, split: str) -> Path | None:
        for name in FOLDERS[split]:
            for place in (f"{name}/data", f"{name}/images", name, f"images/{name}"):
                if (self.root / place).is_dir():
                    return self.root / place
        return None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise DataError(f"the table {path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the table {path} is no table of comma-separated values in UTF-8: {error}") from None


def _table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    lines = _lines(path)
    _, names = next(lines, (0, []))
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; its first line is {', '.join(names)[:120]}")
    for number, row in lines:
        yield number, dict(zip(names, row, strict=False))


def _row(number: int, row: Mapping[str, str]) -> _Row:
    text = ", ".join(row.get(name, "") for name in _NEEDED)
    try:
        left, right, top, bottom = (float(row[name]) for name in _NEEDED[2:])
    except (KeyError, ValueError):
        return _Row(number, row.get("LabelName", ""), None, False, text)
    right_way = all(-0.01 <= value <= 1.01 for value in (left, top, right, bottom))
    corners = (left, top, right, bottom) if right_way else None
    return _Row(number, row["LabelName"], corners, row.get("IsGroupOf") == "1", text)


def _add(content: Content, number: int, label: int, row: _Row, size: tuple[int, int]) -> None:
    assert row.corners is not None
    left, top, right, bottom = row.corners
    height, width = size
    box = [left * width, top * height, (right - left) * width, (bottom - top) * height]
    content.add_object(number, label, box, crowd=row.group)
