"""Boxes in Hugging Face data sets: parquet files with an image and its objects in every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.detection.formats.content import Content, listing
from visionattn.data.detection.formats.parquet import (
    ImageTable,
    ParquetTable,
    checked,
    class_names,
    files_of,
    held_out,
    held_out_note,
)
from visionattn.data.detection.formats.sizes import header_of, shown_size
from visionattn.data.detection.formats.source import BoxSource, FormatRecords
from visionattn.data.detection.sources import CocoRecords
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.facts import DataFacts, typical_size
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError

BOXES = ("xywh", "xyxy")
_SAMPLED = 16


class TableRecords(FormatRecords):
    """One split whose images are values of a table."""

    def __init__(self, table: ImageTable, column: str, *args: Any) -> None:
        super().__init__(*args)
        self._table, self._column = table, column
        self._rows = [int(name.rpartition("/")[2]) for name in self.ids]

    def image_bytes(self, index: int) -> bytes:
        """The content of the image's file."""
        return stored_bytes(self._table.cell(self._column, self._rows[index]))


class HuggingFaceDetection(BoxSource):
    """Images with objects in parquet files, as the Hub stores data sets of detection.

    Every row has an image (``bytes`` and ``path``) and its objects: a list of objects, or lists of their boxes and
    classes. Download a data set first: ``hf download --repo-type dataset OWNER/NAME --local-dir DIR``. Files are told
    apart by their names: train, validation (or val, valid, dev) and test, in the folder or in ``data``. Where none is
    for validation, a fixed share of the training rows, by the rows' own names, is held out.

    Args:
        root: the folder.
        image_key: column of the images.
        objects_key: column of the objects.
        box_key: boxes within the objects.
        class_key: classes within the objects: names, or numbers that the data set's description names.
        box_format: ``xywh`` for x, y, width, height; ``xyxy`` for two corners. Pixels in both.
        class_names: by number, for files without a description.
        val_fraction: share of the training rows that is held out where no file is for validation.
        empty_images: see :class:`BoxSource`.

    Raises:
        ConfigError: an unknown ``box_format``.
        DataError: (on reading) pyarrow or a column is missing; boxes that fit their images only in the other format.
    """

    def __init__(
        self,
        root: str,
        image_key: str = "image",
        objects_key: str = "objects",
        box_key: str = "bbox",
        class_key: str = "category",
        box_format: str = "xywh",
        class_names: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        empty_images: bool = True,
    ) -> None:
        super().__init__(root, False, empty_images)
        self.val_fraction = val_fraction
        if box_format not in BOXES:
            raise ConfigError(f"data.source.box_format must be xywh or xyxy, got {box_format}")
        self.image_key, self.objects_key, self.keys = image_key, objects_key, (box_key, class_key)
        self.box_format = box_format
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self._tables: dict[str, ImageTable] = {}

    def files(self, split: str) -> list[Path]:
        """Parquet files of a split; those of train where some of their rows are held out for it."""
        return files_of(self.root, "train" if split == "val" and self.divided else split)

    @cached_property
    def divided(self) -> bool:
        """Whether rows for training are held out for validation."""
        return not files_of(self.root, "val")

    @cached_property
    def held(self) -> np.ndarray:
        """Which rows for training are held out, bool ``(n,)``."""
        return held_out(self.table("train"), self.image_key, self.val_fraction)

    def numbers(self, split: str) -> Sequence[int]:
        """Numbers of a split's rows in its files."""
        if split == "test" or not self.divided:
            return range(len(self.table(split)))
        rows: list[int] = np.flatnonzero(self.held == (split == "val")).tolist()
        return rows

    def table(self, split: str) -> ImageTable:
        """The files of a split as one table.

        Raises:
            DataError: there is none, or it lacks a column.
        """
        split = "train" if split == "val" and self.divided else split
        if split not in self._tables:
            files = self.files(split)
            if not files:
                raise DataError(f"{self.root} has no parquet file for {split}; {listing(self.root)}")
            self._tables[split] = checked(
                ParquetTable(files), files[0], image_key=self.image_key, objects_key=self.objects_key
            )
        return self._tables[split]

    @cached_property
    def named(self) -> list[str]:
        """Names of the classes, of the options, of the description, or as the training objects have them."""
        if self.class_names is not None:
            return self.class_names
        table = self.table("train")
        names = class_names(_below(table.features.get(self.objects_key), self.keys[1]))
        if not names:
            found = {one for row in table.rows([self.objects_key]) for _, one in self._objects(row)}
            if not all(isinstance(one, str) for one in found) or not found:
                raise DataError(
                    f"{self.files('train')[0]} names its classes nowhere, they are {sorted(map(str, found))[:8]}; list "
                    "their names in data.source.class_names"
                )
            names = sorted(found)
        return names

    def classes(self) -> list[str]:
        return self.named

    def masked_share(self) -> MaskedShare:
        return MaskedShare(0, 0)

    def notes(self) -> list[str]:
        held = [held_out_note(self.held, self.val_fraction)] if self.divided else []
        return [f"layout: parquet files, boxes as {self.box_format}", *held]

    def read(self, split: str) -> tuple[Path, Path, Content]:
        table, where = self.table(split), self.files(split)[0]
        content = Content(self.named)
        labels: dict[Any, int] = {name: label for label, name in enumerate(content.names)}
        sized = [name for name in ("height", "width") if name in table.names]
        fits = dict.fromkeys(BOXES, 0)
        total = 0
        wanted = set(self.numbers(split))
        for index, row in enumerate(table.rows([self.objects_key, *sized])):
            if index not in wanted:
                continue
            size = (row["height"], row["width"]) if len(sized) == 2 else None
            if size is None or not all(isinstance(edge, int) and edge > 0 for edge in size):
                size = self._size(table, index)
            number = content.add_image(f"{split}/{index:08d}", size)
            for box, given in self._objects(row):
                corners = _four(box)
                label = labels.get(given) if isinstance(given, str) else _index(given, len(content.names))
                if label is None:
                    raise DataError(
                        f"{where} row {index}: the class {given} is not among {', '.join(content.names[:12])}"
                    )
                if corners is None:
                    content.dropped.add("boxes that are not four numbers", f"row {index}: {box}")
                    continue
                total += 1
                for name in BOXES:
                    fits[name] += _fits(_as_xywh(corners, name), size)
                content.add_object(number, label, _as_xywh(corners, self.box_format))
        self._compare(where, fits, total)
        return self.root, where, content

    def _compare(self, where: Path, fits: Mapping[str, int], total: int) -> None:
        """Refuse boxes that fit their images in the other format only."""
        other = BOXES[1 - BOXES.index(self.box_format)]
        if fits[self.box_format] < 0.9 * total and fits[other] >= 0.99 * total:
            raise DataError(
                f"{where}: {total - fits[self.box_format]:,} of {total:,} boxes leave their images as "
                f"{self.box_format}, but fit as {other}; set data.source.box_format={other}"
            )

    def _size(self, table: ImageTable, index: int) -> tuple[int, int]:
        try:
            return shown_size(stored_bytes(table.cell(self.image_key, index)))
        except UnreadableImage:
            return shown_size(b"")

    def _objects(self, row: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        """(box, class) of the objects of a row."""
        objects, (box, given) = row[self.objects_key] or [], self.keys
        found = [objects] if isinstance(objects, Mapping) else objects
        for one in found:
            if not isinstance(one, Mapping) or box not in one or given not in one:
                has = ", ".join(one) if isinstance(one, Mapping) else type(one).__name__
                raise DataError(f"the column {self.objects_key} has no {box} and {given}, but {has}; name them by keys")
        if isinstance(objects, Mapping):
            yield from zip(objects[box] or [], objects[given] or [], strict=True)
        else:
            yield from ((one[box], one[given]) for one in objects)

    def records(self, folder: Path, where: Path, content: Content, masks: bool, empty_images: bool) -> CocoRecords:
        split = content.images[0]["file_name"].partition("/")[0]
        return TableRecords(self.table(split), self.image_key, folder, where, content, masks, empty_images)

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`."""
        given = {name: value for name, value in options.items() if not name.startswith("_") and name != "root"}
        source = cls(str(root), **given)
        names = source.classes()
        counts = {split: len(source.numbers(split)) for split in source.splits if source.files(split)}
        train = source.table("train")
        step = max(1, len(train) // _SAMPLED)
        cells = (train.cell(source.image_key, index) for index in range(0, len(train), step))
        sizes = [size for size in (header_of((cell or {}).get("bytes") or b"") for cell in cells) if size]
        return DataFacts(
            num_classes=len(names),
            class_names=tuple(names),
            image_size=typical_size(sizes),
            images=counts,
            options={"masks": False},
            notes=tuple(source.notes()),
        )


def stored_bytes(cell: Any) -> bytes:
    """The content of an image's file in a cell.

    Raises:
        UnreadableImage: there is none.
    """
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(data, bytes):
        path = cell.get("path") if isinstance(cell, Mapping) else None
        raise UnreadableImage(f"the table does not hold its bytes{f', only the path {path}' if path else ''}")
    return data


def _below(feature: Any, key: str) -> Any:
    """The description of a key, however deep in lists it lies."""
    if isinstance(feature, Mapping):
        return feature[key] if key in feature else next(filter(None, (_below(v, key) for v in feature.values())), None)
    return _below(feature[0], key) if isinstance(feature, list) and feature else None


def _four(box: Any) -> list[float] | None:
    values = list(box) if isinstance(box, (list, tuple)) else []
    return [float(value) for value in values] if len(values) == 4 and None not in values else None


def _as_xywh(box: Sequence[float], box_format: str) -> list[float]:
    x, y, third, fourth = box
    return [x, y, third, fourth] if box_format == "xywh" else [x, y, third - x, fourth - y]


def _fits(box: Sequence[float], size: tuple[int, int]) -> bool:
    x, y, width, height = box
    return width >= 0 and height >= 0 and x + width <= size[1] + 1 and y + height <= size[0] + 1


def _index(given: Any, count: int) -> int | None:
    return given if isinstance(given, int) and 0 <= given < count else None
