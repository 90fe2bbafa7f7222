"""Statistics of a data set for its report: sizes of images, counts of classes.

Shapes: I images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from visionattn.data.records import StoredImages
from visionattn.data.survey import survey
from visionattn.reports import Bars, Facts, Panels, Section

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

_LARGEST_CLASSES = 30
"""Classes of a bar chart."""


def class_counts(data: VisionData, split: str) -> np.ndarray | None:
    """Labels of each class in a split, int64 ``(K,)``; None: the records do not list them."""
    records: Any = data.records(split)
    labels = getattr(getattr(records, "annotations", records), "labels", None)
    return None if labels is None else np.bincount(np.asarray(labels), minlength=data.num_classes)


def statistics(data: VisionData, noun: str) -> list[Section]:
    """What the data are: splits, classes, sizes of images, and labels per class.

    Args:
        data: whose splits have been read.
        noun: what is counted of a class, for instance ``objects``.
    """
    height, width = data.image_size
    facts: dict[str, Any] = {f"{in_words(split)} images": count for split, count in data.sizes.items()}
    facts |= {"classes": data.num_classes, "model input": f"{height} x {width} pixels"}
    panels: list[Section] = []
    for split in data.sizes:
        word = in_words(split)
        facts |= {f"{word} images, {name}": told for name, told in _sizes(data, split).items()}
        counts = class_counts(data, split)
        if counts is not None and len(counts) > 1:
            facts[f"{word} {noun}"] = int(counts.sum())
            if empty := int((counts == 0).sum()):
                facts[f"classes without {word} {noun}"] = empty
            panels.append(_bars(data.class_names, counts, word.capitalize()))
    labels = [Panels(f"{noun.capitalize()} per class", panels)] if panels else []
    return [Facts("Data", facts), *labels]


def in_words(split: str) -> str:
    """The word for a split in a sentence."""
    return {"train": "training", "val": "validation"}.get(split, split)


def _bars(names: list[str], counts: np.ndarray, title: str) -> Bars:
    order = np.arange(len(counts))
    note = ""
    if len(counts) > _LARGEST_CLASSES:
        order = np.argsort(-counts, kind="stable")[:_LARGEST_CLASSES]
        note = f"The {_LARGEST_CLASSES} largest of {len(counts):,} classes; the table of classes has them all."
    return Bars(title, {f"{names[index]}": int(counts[index]) for index in order.tolist()}, note)


def _sizes(data: VisionData, split: str) -> dict[str, str]:
    """Least, median and largest size: of all images where the annotations state them, else of some files."""
    records: Any = data.records(split)
    annotations = getattr(records, "annotations", None)
    if annotations is not None:
        sizes, of = np.asarray(annotations.sizes), "height x width"
    elif isinstance(records, StoredImages):
        found = survey(records.image_bytes, data.count(records)).headers
        sizes, of = np.array([header.size for header in found]), f"height x width of {len(found)} looked at"
    else:
        return {}
    if not len(sizes):
        return {}
    least, middle, most = (np.quantile(sizes, q, axis=0).round().astype(int) for q in (0, 0.5, 1))
    if (least == most).all():
        return {of: f"{least[0]} x {least[1]}"}
    return {of: f"median {middle[0]} x {middle[1]}, from {least[0]} x {least[1]} to {most[0]} x {most[1]}"}
