"""Images and labels in parquet files of a downloaded Hugging Face data set, read by pyarrow alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.detection.formats.hugging_face import stored_bytes
from visionattn.data.detection.formats.parquet import (
    SPLITS,
    ParquetTable,
    checked,
    class_names,
    files_of,
    held_out,
    held_out_note,
)
from visionattn.errors import DataError


def has_tables(folder: Path) -> bool:
    """Whether a folder holds parquet files of any split."""
    return folder.is_dir() and any(files_of(folder, split) for split in SPLITS)


class LabelTable:
    """One split as timm's readers give theirs: a file and a label by index.

    Args:
        folder: of the data set.
        split: ``train``, ``val`` or ``test``; without files of its own, val and test stand for each other.
        image_key: column of the images.
        label_key: column of the labels: numbers, which the files or nobody names, or names.
        val_fraction: share of the training rows that is val where there are files for training alone.

    Attributes:
        class_to_idx: name -> label; empty where nobody names them.
        rows: numbers of the split's rows in its files, ``(n,)``.
        note: what is told where training rows are held out; else empty.
        num_labels: classes that the names, or the largest label of the files, speak of.

    Raises:
        DataError: there is no file for the split, no such column, or a label that training lacks.
    """

    def __init__(self, folder: Path, split: str, image_key: str, label_key: str, val_fraction: float) -> None:
        own = {one: files_of(folder, one) for one in SPLITS}
        divided = not own["val"] and not own["test"]
        other = {"val": "test", "test": "val"}.get(split, split)
        files = own["train"] if divided else own[split] or own[other]
        if not files:
            raise DataError(f"{folder} has no parquet file for {split}; {', '.join(k for k in own if own[k])} has some")
        self.table = checked(ParquetTable(files), files[0], image_key=image_key, label_key=label_key)
        self.image_key = image_key
        labels = _column(self.table, label_key)
        named = class_names(self.table.features.get(label_key))
        if not named and any(isinstance(label, str) for label in labels):
            training = labels if files == own["train"] else _column(ParquetTable(own["train"]), label_key)
            named = sorted({str(label) for label in training})
        self.class_to_idx = {name: index for index, name in enumerate(named)}
        self._labels = np.array([self._index(label, files[0]) for label in labels], dtype=np.int64)
        self.num_labels = max(len(named), int(self._labels.max(initial=-1)) + 1)
        self.rows, self.note = np.arange(len(labels)), ""
        if divided:
            held = held_out(self.table, image_key, val_fraction)
            self.rows, self.note = np.flatnonzero(held == (split != "train")), held_out_note(held, val_fraction)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        row = int(self.rows[index])
        return io.BytesIO(stored_bytes(self.table.cell(self.image_key, row))), int(self._labels[row])

    def iter_targets(self) -> Iterator[int]:
        """The labels in order."""
        return iter(self._labels[self.rows].tolist())

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
