"""Checks of ``visionattn data doctor`` for COCO's panoptic layout."""

from __future__ import annotations

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.detection.checks import check_image, open_split, report_tallies
from visionattn.data.image_checks import ImageTally
from visionattn.data.panoptic.sources import PanopticRecords
from visionattn.data.records import Source
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.segmentation import plot_class_shares


def validate(source: Source[PanopticRecords], num_classes: int, split: str, report: Report) -> None:
    """Read every image and panoptic map of a split and report defects.

    These are missing and broken files, sizes that differ, segments that only the map or only the file has, areas that
    are not those of the map, unknown categories, ids that occur twice and classes that never occur.

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
    num_classes = len(records.class_names)
    pixels, images = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    void, read, tally = 0, 0, ImageTally(split, report)
    for index in report.track(range(len(records.ids)), len(records.ids), f"{split}: reading"):
        counts, labels = _read(records, index, split, report, tally)
        if counts is None:
            continue
        _compare_areas(counts[1:], records, index, split, report)
        np.add.at(pixels, labels, counts[1:])
        images[np.unique(labels)] += 1
        void, read = void + int(counts[0]), read + 1
    tally.finish(records.decoding)
    _summarize(records, pixels, images, void, read, split, report)


def _read(
    records: PanopticRecords, index: int, split: str, report: Report, tally: ImageTally
) -> tuple[np.ndarray | None, np.ndarray]:
    """Pixels of no segment and of each segment, and labels; None for an unusable map, which is reported."""
    check_image(records, index, split, report, tally)
    try:
        segments = records.segments(index)
    except UnreadableImage as error:
        report.error(split, "panoptic maps that cannot be used", f"{records.map_path(index)}: {error}")
        return None, np.zeros(0, np.int64)
    labels = segments["labels"].numpy()
    return np.bincount(segments["ids"].numpy().reshape(-1), minlength=len(labels) + 1), labels


def _compare_areas(counts: np.ndarray, records: PanopticRecords, index: int, split: str, report: Report) -> None:
    notes = records.annotations
    rows = slice(int(notes.first[index]), int(notes.first[index + 1]))
    for number, stated, count in zip(notes.numbers[rows], notes.areas[rows], counts, strict=True):
        if not np.isnan(stated) and stated != count:
            facts = f"segment {number} has {count} pixels, its area states {stated:g}"
            report.warning(split, "areas that differ from the map", f"{records.map_path(index)}: {facts}")


def _summarize(
    records: PanopticRecords, pixels: np.ndarray, images: np.ndarray, void: int, read: int, split: str, report: Report
) -> None:
    notes, total = records.annotations, max(int(pixels.sum()) + void, 1)
    report.facts |= {
        f"{split}: images": f"{len(records.ids):,}",
        f"{split}: segments": f"{len(notes.labels):,}, {int(notes.crowds.sum()):,} of them crowds",
        f"{split}: pixels of no segment": f"{100 * void / total:.2f} %",
        f"{split}: left out": str(notes.dropped) or "nothing",
    }
    rows = zip(notes.category_ids, notes.class_names, notes.things, pixels.tolist(), images.tolist(), strict=True)
    report.tables[f"categories of {split}"] = [
        {"label": label, "id": number, "name": name, "thing": thing, "pixels": count, "images": seen}
        for label, (number, name, thing, count, seen) in enumerate(rows)
    ]
    absent = [name for name, count in zip(notes.class_names, pixels, strict=True) if not count]
    if absent and report.limit is None:
        report.warning(split, "classes that never occur", ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else ""))
    file = report.folder / f"{split}_classes.png"
    plot_class_shares(notes.class_names, pixels / total, images / max(read, 1), None, file)
    report.figures[f"{split} classes"] = file
