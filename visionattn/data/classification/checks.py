"""Checks of ``visionattn data doctor`` for images with one label each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.classification.dataset import decoder_of
from visionattn.data.classification.streams import StreamRecords
from visionattn.data.decode import DecodedImage
from visionattn.data.image_checks import ImageTally, report_balance
from visionattn.data.records import Records, Source, StoredImages
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

AnyRecords = Records | StreamRecords


def validate(source: Source[AnyRecords], num_classes: int, split: str, report: Report, transform: Any = None) -> None:
    """Read every image of a split and report defects.

    These are images that cannot be read, labels outside the classes, one image in two classes or in two splits, absent
    and rare classes, and images that a key of the data would have to read otherwise.

    Args:
        source: the data set.
        num_classes: of the configuration.
        split: to read.
        report: to write into.
        transform: of evaluation, whose decoder is used.
    """
    try:
        records = source.open(split)
    except DataError as error:
        report.error(split, "the split cannot be opened", str(error))
        return
    names = list(records.class_names)
    if names and len(names) != num_classes:
        report.error(split, "wrong number of classes", f"the data have {len(names)}, data.num_classes is {num_classes}")
    _compare_names(names, split, report)
    for sentence in getattr(records, "told", ()):
        report.warning(split, "what the reader took for granted", sentence)
    names = names or [str(label) for label in range(num_classes)]
    counts = _read(records, len(names), split, report, decoder_of(transform))
    report.facts[f"{split}: images"] = f"{_count(records):,}"
    report_balance(names, counts, split, report)


def _read(
    records: AnyRecords, num_classes: int, split: str, report: Report, base: Callable[[bytes], DecodedImage]
) -> np.ndarray:
    """Look at every image; the number of images of every class, int64 ``(K,)``."""
    tally, counts = ImageTally(split, report), np.zeros(num_classes, np.int64)
    decode = partial(records.decoding, base=base)
    try:
        for name, label, data in report.track(_images(records, split, report), _count(records), f"{split}: reading"):
            if 0 <= label < num_classes:
                counts[label] += 1
            else:
                report.error(split, "labels outside the classes", f"{name}: {label} of 0..{num_classes - 1}")
            if data is None:
                continue
            tally.add(name, data, label)
            try:
                decode(data)
            except UnreadableImage as error:
                report.error(split, "images that cannot be read", f"{name}: {error}")
    except DataError as error:
        report.error(split, "the split cannot be read to its end", str(error))
    if isinstance(records, StreamRecords | StoredImages):  # else the images are made in memory
        tally.finish(records.decoding)
    return counts


def _count(records: AnyRecords) -> int:
    return records.num_samples if isinstance(records, StreamRecords) else len(records.ids)


def _images(records: AnyRecords, split: str, report: Report) -> Iterator[tuple[str, int, bytes | None]]:
    """Name, label and content of every image; no content where it cannot be read, which is reported."""
    if isinstance(records, StreamRecords):
        records.prepare(rank=0, world_size=1, num_workers=1, batch_size=1)
        records.set_epoch(0)
        yield from records.read()
        return
    for index, name in enumerate(records.ids):
        data = None
        if isinstance(records, StoredImages):
            try:
                data = records.image_bytes(index)
            except UnreadableImage as error:
                report.error(split, "images that cannot be read", f"{name}: {error}")
        yield name, int(records.labels[index]), data


def _compare_names(names: list[str], split: str, report: Report) -> None:
    before = report.tables.get("classes of train")
    if before is None or split == "train" or not names:
        return
    known = [row["class"] for row in before]
    if known != names:
        only = [*(f"{name} (train)" for name in known if name not in names)]
        only += [f"{name} ({split})" for name in names if name not in known]
        report.error(split, "other classes than train", ", ".join(only[:8]) or "the same names in another order")
