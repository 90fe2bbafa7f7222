"""Images and labels in parquet files of a downloaded Hugging Face data set, read by pyarrow alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visionattn.data.detection.formats.hugging_face import stored_bytes
from visionattn.data.detection.formats.parquet import ParquetTable, checked, class_names, files_of
from visionattn.errors import DataError


def has_tables(folder: Path) -> bool:
    """Whether a folder holds parquet files of a training split."""
    return folder.is_dir() and bool(files_of(folder, "train"))


class LabelTable:
    """One split as timm's readers give theirs: a file and a label by index.

    Args:
        folder: of the data set.
        split: ``train``, ``val`` or ``test``; without files of its own, val and test stand for each other.
        image_key: column of the images.
        label_key: column of the labels: numbers, which the files or nobody names, or names.

    Attributes:
        class_to_idx: name -> label; empty where nobody names them.

    Raises:
        DataError: there is no file for the split, no such column, or a label that training lacks.
    """

    def __init__(self, folder: Path, split: str, image_key: str, label_key: str) -> None:
        other = {"val": "test", "test": "val"}.get(split, split)
        files = files_of(folder, split) or files_of(folder, other)
        if not files:
            raise DataError(f"{folder} has no parquet file for {split}, only for training")
        self.table = checked(ParquetTable(files), files[0], image_key=image_key, label_key=label_key)
        self.image_key = image_key
        labels = _column(self.table, label_key)
        named = class_names(self.table.features.get(label_key))
        if not named and any(isinstance(label, str) for label in labels):
            training = labels if split == "train" else _column(ParquetTable(files_of(folder, "train")), label_key)
            named = sorted({str(label) for label in training})
        self.class_to_idx = {name: index for index, name in enumerate(named)}
        self._labels = [self._index(label, files[0]) for label in labels]

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        return io.BytesIO(stored_bytes(self.table.cell(self.image_key, index))), self._labels[index]

    def iter_targets(self) -> Iterator[int]:
        """The labels in order."""
        return iter(self._labels)

    def _index(self, label: Any, file: Path) -> int:
        if isinstance(label, str):
            if label not in self.class_to_idx:
                raise DataError(f"{file} has the class {label}, which training lacks: {', '.join(self.class_to_idx)}")
            return self.class_to_idx[label]
        if not isinstance(label, int) or label < 0:
            raise DataError(f"{file} has the label {label!r}, which is neither a number from 0 on nor a name")
        return label


def _column(table: ParquetTable, key: str) -> list[Any]:
    return [row[key] for row in table.rows([key])]
