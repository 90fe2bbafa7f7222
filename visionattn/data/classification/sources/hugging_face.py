"""Hugging Face data sets: parquet files of a folder, else the `datasets` package through timm's reader."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timm.data.readers import create_reader

from visionattn.data.classification.sources.parquet_labels import LabelTable, has_tables
from visionattn.data.decode import DecodedImage, decode_rgb
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.facts import DataFacts
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.survey import survey
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError


class HuggingFace:
    """A data set of the hub or of the disk. Code that comes with a data set is never run.

    A folder with parquet files, as ``hf download --repo-type dataset OWNER/NAME --local-dir DIR`` leaves it, is read by
    pyarrow; everything else needs the package ``datasets``.

    Args:
        name: on the hub, e.g. ``ILSVRC/imagenet-1k``, or a folder.
        split_names: the data set's own split for each of train, val, test, e.g. ``{train: train, val: validation}``.
        root: folder of the cache.
        image_key: column of the images.
        label_key: column of the labels.
        val_fraction: share of the rows that is val where a folder has parquet files for training alone; by the rows'
            own names, so that other rows change nothing.
    """

    def __init__(
        self,
        name: str,
        split_names: Mapping[str, str],
        root: str | None = None,
        image_key: str = "image",
        label_key: str = "label",
        val_fraction: float = 0.2,
    ) -> None:
        self.name = name
        self.split_names = dict(split_names)
        self.splits: Sequence[str] = tuple(self.split_names)
        self.root = root
        self.image_key = image_key
        self.label_key = label_key
        self.val_fraction = val_fraction

    def open(self, split: str) -> ReaderRecords:
        if split not in self.split_names:
            raise DataError(f"split_names of {self.name} has no {split!r}, only {', '.join(self.splits)}")
        hf_split, folder = self.split_names[split], Path(self.name).expanduser()
        if has_tables(folder):
            table = LabelTable(folder, split, self.image_key, self.label_key, self.val_fraction)
            return ReaderRecords(table, f"{folder.name}/{hf_split}", table.rows.tolist(), table.num_labels, table.note)
        try:
            reader = create_reader(
                f"hfds/{self.name}",
                root=self.root,
                split=hf_split,
                input_key=self.image_key,
                target_key=self.label_key,
            )
        except ImportError:
            raise DataError("Hugging Face data sets need the package 'datasets': pip install datasets") from None
        name = Path(self.name).name if os.path.exists(self.name) else self.name  # ids are the same on every machine
        return ReaderRecords(reader, prefix=f"{name}/{hf_split}")

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`. The data set names its own place."""
        source = cls(**{name: value for name, value in options.items() if not name.startswith("_")})
        opened = {split: source.open(split) for split in ("train", "val") if split in source.splits}
        train = opened["train"]
        found = survey(train.image_bytes, len(train.ids))
        return DataFacts(
            num_classes=train.num_labels,
            class_names=tuple(train.class_names) or None,
            image_size=found.typical_size,
            images={split: len(records.ids) for split, records in opened.items()},
            notes=(*train.told, *found.notes),
            in_chans=found.channels,
            value_range=found.value_range,
        )


class ReaderRecords:
    """A timm reader with random access. Ids are the split's name and the row in it.

    Args:
        reader: of one split.
        prefix: of the ids.
        rows: number of each sample in its files; None: they are counted.
        num_labels: classes of the data set; 0: as many as are named, or as the largest label here says.
        told: a sentence for the user about what was read.
    """

    decoding: Decoding = AS_STORED

    def __init__(
        self, reader: Any, prefix: str, rows: Sequence[int] | None = None, num_labels: int = 0, told: str = ""
    ) -> None:
        self._reader = reader
        self.told: Sequence[str] = [told] if told else []
        self.ids = PackedStrings(f"{prefix}/{row:08d}" for row in (range(len(reader)) if rows is None else rows))
        self.labels = np.fromiter(reader.iter_targets(), dtype=np.int64, count=len(reader))
        names = {label: name for name, label in reader.class_to_idx.items()}
        self.class_names = [str(names.get(label, label)) for label in range(max(names, default=-1) + 1)]
        self.num_labels = max(num_labels, len(self.class_names), int(self.labels.max(initial=-1)) + 1)

    def load(self, index: int, decode: Decoder = decode_rgb) -> DecodedImage:
        return decode(self.image_bytes(index))

    def image_bytes(self, index: int) -> bytes:
        try:
            file, _ = self._reader[index]
            with file:
                return bytes(file.read())
        except OSError as error:
            raise UnreadableImage(f"cannot be opened: {error}") from None

    def content_digest(self) -> bytes:
        return b""
