"""Images whose labels stand in tables: one per split, one with a column of splits, or one to be split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from timm.utils.misc import natural_key

from visionattn.data.classification.sources.image_folder import FileRecords
from visionattn.data.csv_table import Table, named_file, read_pairs, read_table
from visionattn.data.facts import AUTO, DataFacts, sampled_size
from visionattn.data.fixed_split import fixed_split
from visionattn.data.folders import some
from visionattn.data.names import FILE_COLUMNS, LABEL_COLUMNS
from visionattn.data.records import PackedStrings
from visionattn.errors import DataError

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLITS |= {"test": "test", "testing": "test"}
_LOOKED_AT = 64


class CsvLabels:
    """Labeled images listed in tables.

    Args:
        root: the folder.
        tables: split -> file below root, or one file for all splits.
        file_column: name of the column of image files; ``auto``: a usual name, or the first column of a file without
            names.
        label_column: the same of the class of each image; else the second column.
        split_column: of one file for all splits, the column that says train, val or test; None: a fixed share is held
            out for validation, by the names of the images.
        val_fraction: of the images that are held out.
        images: folder of the images below root, or several that are searched in order.
        suffix: put behind every file name, for tables that leave out ``.jpg``.
        class_names: in the order of their indices, where labels are such indices or names; None: the labels of the
            training images in natural order (2 before 10).
        label_names: table without a line of names, below root, of codes and the names to use instead (Open Images'
            ``class-descriptions.csv``).
        keep: column -> value: rows that have another value are skipped (Open Images: ``{Confidence: 1}``).
        separator: between the values of a line; ``auto`` finds it.

    Raises:
        DataError: (on reading) a table, column or value is missing, an image has two labels, a label is unknown, or no
            image is where the table says.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(
        self,
        root: str,
        tables: str | Mapping[str, str] = "labels.csv",
        file_column: str = AUTO,
        label_column: str = AUTO,
        split_column: str | None = None,
        val_fraction: float = 0.2,
        images: str | Sequence[str] = ".",
        suffix: str = "",
        class_names: Sequence[str] | None = None,
        label_names: str | None = None,
        keep: Mapping[str, Any] | None = None,
        separator: str = AUTO,
    ) -> None:
        self.root = Path(root).expanduser()
        self.tables = tables if isinstance(tables, str) else dict(tables)
        self.columns, self.split_column = (file_column, label_column), split_column
        self.val_fraction, self.suffix, self.separator = val_fraction, suffix, separator
        self.images = [images] if isinstance(images, str) else list(images)
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.label_names, self.keep = label_names, dict(keep or {})
        self._tables: dict[Path, Table] = {}

    def open(self, split: str) -> FileRecords:
        """Read one split."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}; choose one of {', '.join(self.splits)}")
        listed = self.listed(split)
        if not listed:
            own = [one for one in self.splits if self.listed(one)]
            raise DataError(f"{self._where(split)} lists no image for {split}, only for {', '.join(own) or 'no split'}")
        index = {name: label for label, name in enumerate(self.classes)}
        if self.class_names is not None:
            index |= {str(label): label for label in range(len(self.classes)) if str(label) not in index}
        unknown = sorted({label for _, label in listed} - index.keys(), key=natural_key)
        if unknown:
            raise DataError(
                f"{self._where(split)}: {split} has labels that are no class: {some(unknown)}; the classes are "
                f"{some(self.classes)}"
            )
        labels = np.array([index[label] for _, label in listed], dtype=np.int64)
        return FileRecords(self.root, PackedStrings(self._located(listed)), labels, list(self.classes))

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their indices."""
        if self.class_names is not None:
            return self.class_names
        return sorted({label for _, label in self.listed("train")}, key=natural_key)

    @cached_property
    def names(self) -> dict[str, str]:
        """Code of a label -> its name."""
        if self.label_names is None:
            return {}
        return dict(read_pairs(self.root / self.label_names))

    def listed(self, split: str) -> list[tuple[str, str]]:
        """(file, label) of the images of a split; empty where the data have no such split."""
        if not isinstance(self.tables, str):
            name = self.tables.get(split)
            return list(self._pairs(self._table(name)).items()) if name else []
        table = self._table(self.tables)
        pairs = self._pairs(table)
        if self.split_column is not None:
            chosen = self._chosen(table, split)
            return [pair for pair in pairs.items() if pair[0] in chosen]
        if split == "test":
            return []
        held = fixed_split(pairs, self.val_fraction)
        return [pair for pair, out in zip(pairs.items(), held.tolist(), strict=True) if out == (split == "val")]

    def _where(self, split: str) -> Path:
        name = self.tables if isinstance(self.tables, str) else self.tables.get(split)
        return self.root / (name or "")

    def _table(self, name: str) -> Table:
        path = self.root / name
        if path not in self._tables:
            if not path.is_file():
                here = sorted(one.name for one in self.root.glob("*.[ct]sv")) if self.root.is_dir() else []
                raise DataError(
                    f"there is no table {path}; set data.source.tables ({self.root} has {some(here) or 'no csv file'})"
                )
            self._tables[path] = read_table(path, self.separator).keeping(self.keep)
        return self._tables[path]

    def _pairs(self, table: Table) -> dict[str, str]:
        """File -> label. An image that is listed again with the same label counts once."""
        file = table.place(self.columns[0], FILE_COLUMNS, "data.source.file_column", 0)
        label = table.place(self.columns[1], LABEL_COLUMNS, "data.source.label_column", 1)
        pairs: dict[str, str] = {}
        for (line, name), (_, code) in zip(table.column(file), table.column(label), strict=True):
            value = self.names.get(code, code)
            if pairs.setdefault(name + self.suffix, value) != value:
                raise DataError(
                    f"{table.path} line {line}: {name} is {value}, but was {pairs[name + self.suffix]} before; give "
                    "every image one label"
                )
        return pairs

    def _chosen(self, table: Table, split: str) -> set[str]:
        file = table.place(self.columns[0], FILE_COLUMNS, "data.source.file_column", 0)
        place = table.place(str(self.split_column), (), "data.source.split_column")
        chosen = set()
        for (line, name), (_, value) in zip(table.column(file), table.column(place), strict=True):
            if value.lower() not in _SPLITS:
                raise DataError(f"{table.path} line {line}: the split {value} is none of train, val and test")
            if _SPLITS[value.lower()] == split:
                chosen.add(name + self.suffix)
        return chosen

    def _located(self, listed: Sequence[tuple[str, str]]) -> list[str]:
        """Paths below root; a file that is in none of the folders is named as if it were in the first."""
        folders = [self.root / folder for folder in self.images]
        found = [self._first(folders, name) for name, _ in listed]
        if not any((self.root / path).is_file() for path in found[:_LOOKED_AT]):
            raise DataError(
                f"none of the first {len(found[:_LOOKED_AT])} images is in {' or '.join(map(str, folders))}, e.g. "
                f"{self.root / found[0]} is missing; set data.source.images to their folder, or data.source.suffix"
            )
        return found

    def _first(self, folders: Sequence[Path], name: str) -> str:
        name = named_file(name, folders)
        places = [Path(folder, name) for folder in folders]
        place = places[0] if len(places) == 1 else next((path for path in places if path.is_file()), places[0])
        return place.relative_to(self.root).as_posix() if place.is_relative_to(self.root) else str(place)

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`."""
        source = cls(str(root), **{name: value for name, value in options.items() if not name.startswith("_")})
        splits = {split: source.listed(split) for split in cls.splits}
        train = [source.root / path for path in source._located(splits["train"])] if splits["train"] else []
        names = tuple(source.classes)
        counts = {split: len(listed) for split, listed in splits.items() if listed}
        shared = isinstance(source.tables, str) and source.split_column is None
        notes = (f"{source.val_fraction:.0%} of the images are held out by their names",) if shared else ()
        named = not all(name.isdigit() for name in names)
        return DataFacts(len(names), names, sampled_size(train), counts, notes=notes, named=named)
