"""Checks of ``visionattn data doctor`` for images with label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.decode import as_image
from visionattn.data.image_checks import ImageTally
from visionattn.data.orientation import size_of
from visionattn.data.records import Source
from visionattn.data.segmentation.class_use import check_class_use, spot_check
from visionattn.data.segmentation.labels import IGNORE, LabelError, shift_of, shift_of_counts
from visionattn.data.segmentation.sources.masks import MaskRecords
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.segmentation import plot_class_shares, plot_overlays
from visionattn.errors import DataError

_SHOWN_IMAGES = 12


class _Tally:
    """Counts over the masks of a split; ``pixels`` and ``images`` are int64 ``(K,)``."""

    def __init__(self, num_classes: int) -> None:
        self.pixels, self.images = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
        self.ignored = self.masks = 0

    def add(self, classes: np.ndarray) -> None:
        counts = np.bincount(classes.reshape(-1), minlength=IGNORE + 1)
        self.pixels += counts[: len(self.pixels)]
        self.images += counts[: len(self.pixels)] > 0
        self.ignored += int(counts[IGNORE])
        self.masks += 1

    @property
    def shares(self) -> np.ndarray:
        return self.pixels / max(int(self.pixels.sum()), 1)


def validate(source: Source[MaskRecords], num_classes: int, split: str, report: Report, absent: str = "auto") -> None:
    """Read every image and mask of a split and report defects.

    These are files that cannot be read, masks of another size, unknown labels, labels that look shifted
    and classes that never occur.

    Args:
        source: the data set.
        num_classes: of the configuration.
        split: to read.
        report: to write into.
        absent: what is done about classes that never occur in the training masks.
    """
    try:
        records = source.open(split)
    except DataError as error:
        report.error(split, "the split cannot be opened", str(error))
        return
    for sentence in records.told:
        report.warning(split, "what the reader took for granted", sentence)
    names, images = records.class_names, ImageTally(split, report)
    if len(names) != num_classes:
        report.error(split, "wrong number of classes", f"the data have {len(names)}, data.num_classes is {num_classes}")
    tally, shown = _Tally(len(names)), list[tuple[Any, np.ndarray, str]]()
    for index in report.track(range(len(records.ids)), len(records.ids), f"{split}: reading"):
        classes, image = _read(records, index, split, report, images)
        if classes is None:
            continue
        tally.add(classes)
        if image is not None and len(shown) < _SHOWN_IMAGES:
            shown.append((as_image(image), classes, records.ids[index]))
    images.finish(records.decoding)
    _check_use(records, split, report, absent)
    _check_frequencies(records, tally, split, report)
    _summarize(records, tally, split, report)
    if shown:
        file = report.folder / f"{split}_samples.png"
        plot_overlays(shown, records.classes.palette, names, file)
        report.figures[f"{split} samples"] = file


def _check_use(records: MaskRecords, split: str, report: Report, absent: str) -> None:
    try:
        check_class_use(records, spot_check(records), split, absent)
    except LabelError:
        pass  # a mask that is named, or a shift that is found in all masks
    except DataError as error:
        report.error(split, "classes that cannot be learned", str(error))


def _read(
    records: MaskRecords, index: int, split: str, report: Report, images: ImageTally
) -> tuple[np.ndarray | None, Any]:
    """Classes of one mask, and its image; None for what cannot be read, which is reported."""
    classes = image = None
    try:
        stored = records.stored(index)
        problem = records.table.problem(stored) if stored.min(initial=0) >= 0 else "negative labels"
        if problem:
            report.error(split, "unknown labels", f"{records.mask_path(index)}: {problem}")
        else:
            classes = records.table(stored, str(records.mask_path(index)))
    except UnreadableImage as error:
        report.error(split, "masks that cannot be read", f"{records.mask_path(index)}: {error}")
    except (LabelError, OSError) as error:
        report.error(split, "files that are not masks", str(error))
    try:
        data = records.image_bytes(index)
        images.add(str(records.image_path(index)), data)
        image = records.decoding(data, None if classes is None else (classes.shape[0], classes.shape[1]))
    except UnreadableImage as error:
        report.error(split, "images that cannot be read", f"{records.image_path(index)}: {error}")
    if classes is not None and image is not None and classes.shape != size_of(image):
        height, width = size_of(image)
        cause = records.decoding.why_other_size(data, (height, width), (classes.shape[0], classes.shape[1]))
        sizes = f"{classes.shape[0]}x{classes.shape[1]}, the image {height}x{width}{cause}"
        report.error(split, "masks of another size than their image", f"{records.mask_path(index)}: {sizes}")
        return None, None
    if classes is not None and (classes == IGNORE).all():
        report.warning(split, "masks without any labeled pixel", str(records.mask_path(index)))
    return classes, image


def _check_frequencies(records: MaskRecords, tally: _Tally, split: str, report: Report) -> None:
    names, expected = records.class_names, records.classes.shares
    if not tally.masks:
        return
    published = records.classes.images.get(split)
    shift = 0 if expected is None else shift_of(tally.shares, expected, tally.masks)
    if published is not None and report.limit is None:
        shift = shift_of_counts(tally.images, published) or shift
        other = int((tally.images != published).sum())
        if other and not shift:
            report.warning(split, "not the published split", f"{other} classes occur in another number of images")
    if shift:
        most = names[int(tally.pixels.argmax())]
        what = (
            f"compared with the published frequencies, labels are shifted by {shift:+d}; the most frequent is {most!r}"
        )
        report.error(split, "labels look shifted", what)
    absent = [name for name, count in zip(names, tally.pixels, strict=True) if not count]
    if absent and report.limit is None:
        shown = ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else "")
        report.warning(split, "classes that never occur", f"{len(absent)} of {len(names)}: {shown}")
    before = report.tables.get("classes of train")
    if before is not None and split != "train" and expected is None:
        trained = np.array([row["share"] for row in before])
        if len(trained) == len(names) and (shift := shift_of(tally.shares, trained, tally.masks)):
            report.error(split, "labels look shifted", f"by {shift:+d} against those of train")


def _summarize(records: MaskRecords, tally: _Tally, split: str, report: Report) -> None:
    names, total = records.class_names, int(tally.pixels.sum()) + tally.ignored
    report.facts |= {
        f"{split}: samples": f"{len(records.ids):,}",
        f"{split}: masks read": f"{tally.masks:,}",
        f"{split}: pixels": f"{total:,}, {100 * tally.ignored / max(total, 1):.2f} % ignored",
        f"{split}: classes seen": f"{int((tally.pixels > 0).sum())} of {len(names)}",
    }
    rows = zip(names, records.classes.numbers, tally.pixels.tolist(), tally.images.tolist(), tally.shares, strict=True)
    report.tables[f"classes of {split}"] = [
        {"class": name, "stored_as": number, "pixels": pixels, "images": images, "share": float(share)}
        for name, number, pixels, images, share in rows
    ]
    file: Path = report.folder / f"{split}_classes.png"
    plot_class_shares(names, tally.shares, tally.images / max(tally.masks, 1), records.classes.shares, file)
    report.figures[f"{split} classes"] = file
