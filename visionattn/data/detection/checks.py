"""Checks of ``visionattn data doctor`` for COCO's layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.detection.annotations import categories, problems
from visionattn.data.detection.sources import CocoRecords
from visionattn.data.records import Source
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.detection import plot_objects, plot_sizes
from visionattn.errors import DataError


def validate(source: Source[CocoRecords], num_classes: int, split: str, report: Report) -> None:
    """Read every image and annotation of a split and report defects.

    These are missing and broken files, sizes that differ, bad boxes, bad polygons and run lengths, unknown categories,
    ids that occur twice and classes without objects.

    Args:
        source: the data set.
        num_classes: of the configuration.
        split: to read.
        report: to write into.
    """
    opened = open_split(source, num_classes, split, report)
    if opened is None:
        return
    records, content, (ids, names) = opened
    _check_ids(content, split, report)
    for annotation, what, details in problems(content, records.masks):
        if what:
            report.error(split, what, f"annotation {annotation.get('id')}: {details}")
    for what, count in records.unread.counts.items():
        report.error(split, what, *records.unread.examples[what], count=count)
    for sentence in records.told:
        report.warning(split, "what the reader took for granted", sentence)
    for index in report.track(range(len(records.ids)), len(records.ids), f"{split}: reading"):
        try:
            records.image(index)
        except UnreadableImage as error:
            report.error(split, "images that cannot be read", f"{records.image_path(index)}: {error}")
    _summarize(records, content, ids, names, split, report)


def open_split(
    source: Any, num_classes: int, split: str, report: Report
) -> tuple[Any, dict[str, Any], tuple[list[int], list[str]]] | None:
    """Open a split: its records, the contents of their annotation file, and its categories.

    A split that cannot be opened gives None and an error in the report. Another number of categories is reported too.
    """
    try:
        records = source.open(split)
        content = records.content()
    except DataError as error:
        report.error(split, "the split cannot be opened", str(error))
        return None
    ids, names = categories(content, records.file)
    if len(ids) != num_classes:
        report.error(split, "wrong number of classes", f"the file has {len(ids)}, data.num_classes is {num_classes}")
    return records, content, (ids, names)


def _check_ids(content: dict, split: str, report: Report) -> None:
    for kind in ("images", "annotations"):
        seen: set = set()
        for entry in content[kind]:
            number = entry.get("id")
            if number in seen:
                report.error(split, f"{kind} with an id that occurs twice", f"id {number}")
            seen.add(number)
    before = report.tables.get("categories of train")
    now = [(category["id"], category["name"]) for category in content["categories"]]
    if before is not None and sorted(now) != sorted((row["id"], row["name"]) for row in before):
        report.error(split, "other categories than train", f"{len(now)} against {len(before)}, or other names")


def _summarize(
    records: CocoRecords, content: dict, ids: list[int], names: list[str], split: str, report: Report
) -> None:
    notes = records.annotations
    counts = np.bincount(notes.labels, minlength=len(ids))
    per_image = np.diff(notes.first)
    report.facts |= {
        f"{split}: images": f"{len(records.ids):,}, {int((per_image == 0).sum()):,} without objects",
        f"{split}: objects": f"{len(notes.labels):,}, and {notes.crowds:,} crowds",
        f"{split}: left out": str(notes.dropped) or "nothing",
    }
    report.tables[f"categories of {split}"] = [
        {"label": label, "id": number, "name": name, "objects": int(count)}
        for label, (number, name, count) in enumerate(zip(ids, names, counts, strict=True))
    ]
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent:
        report.warning(split, "classes without objects", ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else ""))
    extents = notes.boxes[:, 2:] - notes.boxes[:, :2]
    sizes, objects = report.folder / f"{split}_sizes.png", report.folder / f"{split}_objects.png"
    plot_sizes(notes.sizes, per_image, sizes)
    plot_objects(extents, notes.areas, counts, names, objects)
    report.figures |= {f"{split} image sizes": sizes, f"{split} objects": objects}
