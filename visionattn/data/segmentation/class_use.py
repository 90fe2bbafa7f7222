"""Whether the masks of a split can be learned from: which classes occur, and whether labels are shifted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from visionattn.data.segmentation.labels import IGNORE, LabelError, shift_of
from visionattn.data.segmentation.sources.masks import MaskRecords
from visionattn.data.segmentation.stored_numbers import histogram
from visionattn.data.survey import spread
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError

ABSENT = ("auto", "allow", "refuse")
_LOOKED_AT = 256
_SHOWN = 8


@dataclass
class ClassUse:
    """What occurs in some masks of a split.

    Attributes:
        masks: that were read.
        complete: whether these are all masks of the split.
        pixels: of every class, int64 ``(K,)``.
        stored: pixels of every stored number.
    """

    masks: int
    complete: bool
    pixels: np.ndarray
    stored: Counter[int] = field(default_factory=Counter)


def spot_check(records: MaskRecords) -> ClassUse:
    """Look at some masks, evenly spread over the split, before anything is trained.

    Raises:
        LabelError: a mask holds unknown labels, or the labels are shifted against the published shares.
    """
    indices = spread(len(records.ids), _LOOKED_AT)
    pixels, stored, read = np.zeros(IGNORE + 1, np.int64), Counter[int](), 0
    for index in indices:
        try:
            numbers = records.stored(index)
        except (UnreadableImage, OSError):
            continue  # counted against the budget when its turn comes
        classes = records.table(numbers, str(records.mask_path(index)))
        pixels += np.bincount(classes.reshape(-1), minlength=IGNORE + 1)
        found, counts = np.unique(numbers, return_counts=True)
        stored.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        read += 1
    names, expected = records.class_names, records.classes.shares
    counted = pixels[: len(names)]
    if expected is not None and counted.sum() and (shift := shift_of(counted / counted.sum(), expected, len(indices))):
        most = int(counted.argmax())
        true_name = names[(most - shift) % len(names)]
        raise LabelError(
            f"the masks below {records.root} look shifted by {shift:+d}: the label {names[most]!r} is as frequent "
            f"as {true_name!r} should be; check whether 0 was removed or 1 was added (`visionattn data doctor` "
            "shows the frequencies)"
        )
    return ClassUse(read, len(indices) == len(records.ids), counted, stored)


def as_absent(rule: str) -> str:
    """A rule of ``data.absent_classes``.

    Raises:
        ConfigError: it is no rule.
    """
    if rule not in ABSENT:
        raise ConfigError(f"data.absent_classes={rule!r} is not one of {', '.join(ABSENT)}")
    return rule


def check_class_use(records: MaskRecords, use: ClassUse, split: str, rule: str) -> list[str]:
    """Refuse masks from which a class cannot be learned.

    Args:
        records: of the split.
        use: what occurs in its masks.
        split: its name; classes may be absent from all but ``train``.
        rule: ``auto`` refuses one class alone, and in one's own data absent classes beside ignored pixels, which may be
            those classes; ``allow`` refuses neither, ``refuse`` every absent class.

    Returns:
        Sentences for the user about absent classes.

    Raises:
        DataError: they are refused, or no pixel has a class; the message has the histogram of the stored numbers.
    """
    names, known = records.class_names, set(records.classes.numbers)
    absent = [name for name, count in zip(names, use.pixels, strict=True) if not count]
    where = f"the {use.masks} {split} masks looked at below {records.root}"
    found = f"stored numbers: {histogram(use.stored)}"
    if use.masks and len(absent) == len(names):
        raise DataError(f"{where} hold no class, only ignored numbers; {found}")
    alone = len(names) - len(absent) == 1
    if split != "train" or not use.masks or not (absent or alone):
        return []
    ignored = sorted(set(use.stored) - known)
    suspicious = use.complete and bool(ignored) and not records.classes.published
    if (rule == "refuse" and use.complete) or (rule == "auto" and (alone or suspicious)):
        cause = f"; {', '.join(map(str, ignored[:_SHOWN]))} is ignored: if it is a class, say so by data.source.numbers"
        cause += " and data.source.ignore=[]"
        what = f"{_named(absent)} of {len(names)} classes never occur in {where}, so that they cannot be learned"
        what = what if absent else f"{names[0]!r} is the only class in {where}, so that there is nothing to learn"
        raise DataError(f"{what}; {found}{cause if ignored else ''}; data.absent_classes=allow trains all the same")
    return [f"{_named(absent)} of {len(names)} classes never occur in {where}"] if use.complete else []


def _named(absent: list[str]) -> str:
    return f"{len(absent)} ({', '.join(absent[:_SHOWN])}{', ...' if len(absent) > _SHOWN else ''})"
