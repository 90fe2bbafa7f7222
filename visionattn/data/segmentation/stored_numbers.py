"""Which classes the masks of a data set hold, from the numbers that are stored in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionattn.data.segmentation.labels import IGNORE
from visionattn.data.segmentation.mask_files import ColorTable, LabelError, decode_mask
from visionattn.data.survey import spread
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

LOOKED_AT = 500
"""Masks that are read at most, evenly spread over a split."""
_GAPS = 8


@dataclass(frozen=True)
class Numbers:
    """The classes of a data set's masks.

    Attributes:
        numbers: stored number of each class, in label order.
        names: of the classes.
        ignore: stored numbers that count nowhere.
        notes: sentences for the user.
    """

    numbers: list[int]
    names: list[str]
    ignore: list[int]
    notes: list[str]


def count_numbers(
    paths: Sequence[Path], colors: ColorTable | None = None, most: int = LOOKED_AT
) -> tuple[Counter[int], int]:
    """Pixels of every stored number, and the masks that were read.

    Args:
        paths: of the masks.
        colors: of the numbers, for masks in color.
        most: masks that are read, evenly spread.

    Raises:
        LabelError: a file is no mask; the message names it.
    """
    counts, read = Counter[int](), 0
    for index in spread(len(paths), most):
        try:
            numbers, pixels = np.unique(decode_mask(paths[index].read_bytes(), colors), return_counts=True)
        except (UnreadableImage, OSError):
            continue  # counted against the budget when its turn comes
        except LabelError as error:
            raise LabelError(f"{paths[index]}: {error}") from None
        counts.update(dict(zip(numbers.tolist(), pixels.tolist(), strict=True)))
        read += 1
    return counts, read


def histogram(counts: Mapping[int, int], shown: int = 12) -> str:
    """Stored numbers with their shares of the pixels, as text."""
    total = max(sum(counts.values()), 1)
    parts = [f"{number} ({100 * counts[number] / total:.3g} %)" for number in sorted(counts)]
    return ", ".join(parts[:shown]) + (f" and {len(parts) - shown} more" if len(parts) > shown else "")


def deduce(
    counts: Mapping[int, int],
    named: Mapping[int, str] | None = None,
    ignore: Sequence[int] | None = None,
    first: int | None = None,
    where: str = "the masks",
) -> Numbers:
    """Classes from the numbers that occur.

    Classes are counted from 0, or from 1 where no 0 occurs, to the largest number; 255 is ignored. Of 0 and 255 alone,
    255 is the object and nothing is ignored. Names of a file give exactly their numbers.

    Args:
        counts: pixels of every stored number.
        named: number -> name, of a file.
        ignore: numbers that count nowhere; None: see above.
        first: stored number of the first class, where it is known.
        where: the masks, for messages.

    Raises:
        DataError: only ignored numbers occur, or numbers that are not counted one by one.
    """
    present = sorted(counts)
    if named and set(present) - set(named) <= {IGNORE, *(ignore or ())}:
        numbers = sorted(number for number in named if number not in (ignore or ()))
        ignored = list(ignore) if ignore is not None else [IGNORE] * (IGNORE not in numbers)
        return Numbers(numbers, [named[number] for number in numbers], ignored, [])
    if present == [0, IGNORE] and ignore is None and first in (None, 0):
        note = f"{where} hold 0 and 255: two classes, of which 255 is the object, and nothing is ignored"
        return Numbers([0, IGNORE], ["background", "object"], [], [note])
    ignored = [IGNORE] if ignore is None else list(ignore)
    used = [number for number in present if number not in ignored]
    first = (1 if used[:1] == [1] else 0) if first is None else first
    _refuse(used, first, counts, where)
    count = used[-1] - first + 1
    numbers = [number for number in range(first, first + count) if number not in ignored]
    names = ["background", "object"] if numbers == [0, 1] else [f"class {number}" for number in numbers]
    return Numbers(numbers, names, ignored, [])


def _refuse(used: Sequence[int], first: int, counts: Mapping[int, int], where: str) -> None:
    """Refuse numbers that do not count classes."""
    if not used:
        raise DataError(f"{where} hold no class, only ignored numbers: {histogram(counts)}")
    count = used[-1] - first + 1
    if count > IGNORE or (count > 2 * len(used) and count - len(used) > _GAPS):
        example = ",".join(str(number) for number in used[:_GAPS])
        raise DataError(
            f"{where} hold numbers that do not count classes one by one: {histogram(counts)}; state the stored number "
            f"of each class as data.source.numbers=[{example}{',...' if len(used) > _GAPS else ''}], and their names "
            "as data.source.class_names"
        )
