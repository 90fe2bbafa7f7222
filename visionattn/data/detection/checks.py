"""Checks of ``visionattn data doctor`` for COCO's layout."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.detection.annotations import Annotations
from visionattn.data.detection.box_format import box_fault, leaves_image, overlaps
from visionattn.data.detection.objects import NO_MASK
from visionattn.data.detection.sources import CocoRecords, ImageList, SizedImages
from visionattn.data.image_checks import ImageTally
from visionattn.data.records import Source
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.detection import plot_objects, plot_sizes
from visionattn.errors import DataError

S = TypeVar("S", bound=SizedImages[Any])


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
    records = open_split(source, num_classes, split, report)
    if records is None:
        return
    report_tallies(records.annotations, split, report)
    unmasked = records.annotations.unmasked
    for reason, count in unmasked.counts.items():
        add = report.warning if reason == NO_MASK else report.error
        add(split, reason, *unmasked.examples[reason], count=count)
    for sentence in records.told:
        report.warning(split, "what the reader took for granted", sentence)
    tally = ImageTally(split, report)
    for index in report.track(range(len(records.ids)), len(records.ids), f"{split}: reading"):
        check_image(records, index, split, report, tally)
    tally.finish(records.decoding)
    check_boxes(records.annotations, split, report)
    _summarize(records, split, report)


def open_split(source: Source[S], num_classes: int, split: str, report: Report) -> S | None:
    """Open a split and compare its categories with the configuration and with train.

    A split that cannot be opened gives None and an error in the report.
    """
    try:
        records = source.open(split)
    except DataError as error:
        report.error(split, "the split cannot be opened", str(error))
        return None
    ids, names = records.category_ids, records.class_names
    if len(ids) != num_classes:
        report.error(split, "wrong number of classes", f"the file has {len(ids)}, data.num_classes is {num_classes}")
    before = report.tables.get("categories of train")
    if before is not None:
        known, now = [(row["id"], row["name"]) for row in before], list(zip(ids, names, strict=True))
        differing = [one for one in dict.fromkeys([*known, *now]) if (one in known) != (one in now)]
        if differing:
            shown = ", ".join(f"{name} (id {number})" for number, name in differing[:8])
            report.error(split, "other categories than train", shown)
    return records


def check_image(records: SizedImages[Any], index: int, split: str, report: Report, tally: ImageTally) -> None:
    """Read one image, count it in the tally, and report it where it cannot be read."""
    try:
        tally.add(str(records.image_path(index)), records.image_bytes(index))
        records.image(index)
    except UnreadableImage as error:
        report.error(split, "images that cannot be read", f"{records.image_path(index)}: {error}")


def check_boxes(notes: Annotations, split: str, report: Report) -> None:
    """Compare the boxes with the borders of their images and with the masks of their objects."""
    fault = box_fault(notes)
    if fault:
        report.error(split, "boxes in another format", fault)
        return
    images = np.repeat(np.arange(len(notes.names)), np.diff(notes.first))
    leaving = np.flatnonzero(leaves_image(notes))
    places = [f"{notes.names[images[row]]}: bbox {notes.stated[row].tolist()}" for row in leaving[:10]]
    if len(leaving) > 0.2 * len(notes.labels):
        report.error(split, "boxes that leave their images, as of images of another size", *places, count=len(leaving))
    elif len(leaving):
        report.warning(split, "boxes that leave their images", *places, count=len(leaving))
    corners = np.concatenate([notes.stated[:, :2], notes.stated[:, :2] + notes.stated[:, 2:]], 1)
    rows, _, overlap = overlaps(notes, corners)
    apart = rows[overlap < 0.5]
    places = [f"{notes.names[images[row]]}: bbox {notes.stated[row].tolist()}" for row in apart[:10]]
    if len(apart):
        sampled = f", of {len(rows):,} looked at" if len(rows) < notes.has_mask.sum() else ""
        report.warning(split, f"boxes that differ from their masks{sampled}", *places, count=len(apart))


def report_tallies(notes: ImageList, split: str, report: Report) -> None:
    """Report what was left out as errors, and what was mended as warnings."""
    for reason, count in notes.dropped.counts.items():
        report.error(split, reason, *notes.dropped.examples[reason], count=count)
    for reason, count in notes.repaired.counts.items():
        report.warning(split, f"mended: {reason}", *notes.repaired.examples[reason], count=count)


def _summarize(records: CocoRecords, split: str, report: Report) -> None:
    notes, ids, names = records.annotations, records.category_ids, records.class_names
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
