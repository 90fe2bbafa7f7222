"""Tables in parquet files, as the Hugging Face Hub stores data sets, read by pyarrow."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from visionattn.data.fixed_split import fixed_split
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

NEEDED = "parquet files need the package pyarrow: pip install 'visionattn[huggingface]'"


SPLITS = {"train": ("train",), "val": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""Split -> how the names of its files begin."""
PLACES = ("data", "", "default")
"""Folders below the root that hold the files, or a folder of them for each split."""


def files_of(root: Path, split: str) -> list[Path]:
    """Parquet files of a split, told apart by their names or folders; files that name no split are for training."""
    named = _named(root, split)
    if named or split != "train" or any(_named(root, other) for other in SPLITS):
        return named
    return next((found for place in PLACES if (found := sorted((root / place).glob("*.parquet")))), [])


def _named(root: Path, split: str) -> list[Path]:
    for name in SPLITS[split]:
        for place in (root / one for one in PLACES):
            found = sorted(place.glob(f"{name}[-._0-9]*parquet")) or sorted((place / name).glob("*.parquet"))
            if found:
                return found
    return []


def held_out(table: ImageTable, image_key: str, fraction: float) -> np.ndarray:
    """Which rows of a training table are for validation where no file is, bool ``(n,)``; all their names are read.

    A fixed share is held out by the rows' own names, see :meth:`ParquetTable.row_names`.
    """
    return fixed_split(table.row_names(image_key), fraction)


def held_out_note(held: np.ndarray, fraction: float) -> str:
    """What is told where rows are held out."""
    return f"no parquet file is for validation: a fixed {fraction:.0%} of the rows is val ({held.sum()} of {len(held)})"


class ImageTable(Protocol):
    """What is read of a split's files.

    Attributes:
        names: of the columns.
        features: the data set's own description of the columns; empty where the files have none.
    """

    names: Sequence[str]
    features: Mapping[str, Any]

    def __len__(self) -> int:
        """Number of rows."""

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of every row, as plain values."""

    def cell(self, column: str, index: int) -> Any:
        """One value."""

    def row_names(self, column: str) -> list[str]:
        """A name for each row that is the same on every machine, of the column of images where that has one."""


class ParquetTable:
    """Several parquet files of the same columns as one table.

    Values of a column of images are read by groups of rows, as the files store them (about 100 images in those of the
    Hub); the latest group is kept, so that reading in order reads everything once.

    Args:
        files: in order.

    Raises:
        DataError: pyarrow is not installed, or a file is no parquet file.
    """

    names: Sequence[str] = ()
    features: Mapping[str, Any] = {}

    def __init__(self, files: Sequence[Path]) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise DataError(NEEDED)
        self.files = list(files)
        self._starts, self._places = [0], list[tuple[int, int]]()
        for number, path in enumerate(self.files):
            opened = _opened(path)
            if not number:
                self.names = list(opened.schema_arrow.names)
                self.features = _features(opened.schema_arrow.metadata or {})
            for group in range(opened.num_row_groups):
                self._places.append((number, group))
                self._starts.append(self._starts[-1] + opened.metadata.row_group(group).num_rows)
        self._kept: tuple[tuple[int, str], Any] | None = None

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of every row, as plain values."""
        for path in self.files:
            opened = _opened(path)
            for group in range(opened.num_row_groups):
                yield from opened.read_row_group(group, columns=list(columns)).to_pylist()

    def row_names(self, column: str) -> list[str]:
        """A name for each row that is the same on every machine.

        The path that the column of images states where every row has its own, else the file and the row in it.
        """
        stated = self._paths(column)
        if len(set(stated)) == len(self) and None not in stated:
            return [str(path) for path in stated]
        counts = [_opened(path).metadata.num_rows for path in self.files]
        return [f"{path.name}/{row}" for path, rows in zip(self.files, counts, strict=True) for row in range(rows)]

    def _paths(self, column: str) -> list[str | None]:
        """What the images' cells state as paths, without their content being read; nothing of plain bytes."""
        schema = _opened(self.files[0]).schema
        if f"{column}.path" not in [schema.column(leaf).path for leaf in range(len(schema))]:
            return []
        return [(row[column] or {}).get("path") for row in self.rows([f"{column}.path"])]

    def cell(self, column: str, index: int) -> Any:
        """One value."""
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        if self._kept is None or self._kept[0] != (place, column):
            number, group = self._places[place]
            try:
                values = _opened(self.files[number]).read_row_group(group, columns=[column]).column(0)
            except (OSError, DataError) as error:
                raise UnreadableImage(f"{self.files[number]}: {error}") from None
            self._kept = (place, column), values
        return self._kept[1][index - self._starts[place]].as_py()


Table = TypeVar("Table", bound=ImageTable)


def checked(table: Table, where: Path, **needed: str) -> Table:
    """A table that has the columns.

    Args:
        table: of one split.
        where: its file, for the message.
        **needed: key of the source -> the column that it names.

    Raises:
        DataError: it has others.
    """
    missing = [name for name in needed.values() if name not in table.names]
    if missing:
        raise DataError(
            f"{where} has no column {', '.join(missing)}, but {', '.join(table.names)}; name the columns by "
            f"{' and '.join(f'data.source.{key}' for key in needed)}"
        )
    return table


def _opened(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as a parquet file: {text[:160]}") from None


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def class_names(feature: Any) -> list[str]:
    """Names of the classes in the description of a column; empty where it has none."""
    if isinstance(feature, Mapping):
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list):
            return [str(name) for name in feature["names"]]
        return next((found for found in map(class_names, feature.values()) if found), [])
    if isinstance(feature, list):
        return next((found for found in map(class_names, feature) if found), [])
    return []
