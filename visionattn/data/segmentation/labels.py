"""Label maps: from stored numbers to classes, or an error that names the file and the value.

Shapes: H W map, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visionattn.data.segmentation.mask_files import LabelError
from visionattn.errors import ConfigError, counted

IGNORE = 255
"""The label of pixels that count nowhere, in every data set, once a mask has been read."""

_LARGEST = 65535
_FORBIDDEN = -1
_SHOWN = 8
_ENOUGH = 20


class LabelTable:
    """A table from stored numbers to classes.

    Args:
        numbers: the stored numbers of the classes 0, 1, ...
        ignore: stored numbers that count nowhere, unless they are classes. Every other number is an error.

    Raises:
        ConfigError: numbers outside 0..65535, repeated ones, or more than 255 classes (255 marks ignored pixels).
    """

    def __init__(self, numbers: Sequence[int], ignore: Sequence[int] = (IGNORE,)) -> None:
        self.known = sorted({*numbers, *ignore})
        if not numbers or self.known[0] < 0 or self.known[-1] > _LARGEST:
            raise ConfigError(f"the labels of a mask are numbers in 0..{_LARGEST}, got {self.known[:_SHOWN]}")
        if len(set(numbers)) < len(numbers) or len(numbers) > IGNORE:
            raise ConfigError(f"a mask has up to {IGNORE} classes, each with a number of its own; got {len(numbers)}")
        self._table = np.full(_LARGEST + 1, _FORBIDDEN, dtype=np.int16)
        self._table[list(ignore)] = IGNORE
        self._table[list(numbers)] = np.arange(len(numbers))

    def __call__(self, stored: np.ndarray, where: str) -> np.ndarray:
        """Classes of a stored map, uint8 ``(H, W)``.

        Raises:
            LabelError: a number stands for no class; the message names ``where`` and the number.
        """
        low, high = int(stored.min(initial=0)), int(stored.max(initial=0))
        if low < 0 or high > _LARGEST:
            raise LabelError(f"{where}: labels run from {low} to {high}; {self._expected()}")
        classes = self._table[stored]
        if (classes < 0).any():
            raise LabelError(f"{where}: {self.problem(stored)}")
        return classes.astype(np.uint8)

    def problem(self, stored: np.ndarray) -> str:
        """What is wrong with a map's numbers, as text; empty if nothing is."""
        numbers, counts = np.unique(stored, return_counts=True)
        wrong = [(int(n), int(c)) for n, c in zip(numbers, counts, strict=True) if self._table[n] < 0]
        if not wrong:
            return ""
        shown = ", ".join(f"{number} ({counted(count, 'pixel')})" for number, count in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return f"unknown labels: {shown}{more}; {self._expected()}"

    def _expected(self) -> str:
        ranges = np.split(np.array(self.known), np.flatnonzero(np.diff(self.known) != 1) + 1)
        words = [f"{span[0]}..{span[-1]}" if len(span) > 1 else str(span[0]) for span in ranges]
        return f"expected {', '.join(words[:_SHOWN])}{', ...' if len(words) > _SHOWN else ''}"


def shift_of(measured: np.ndarray, expected: np.ndarray, samples: int, farthest: int = 2) -> int:
    """The shift of class numbers, judged by how often each class occurs; 0 where the frequencies fit.

    A shift of +1 means that label k stands for class k - 1. It is reported only where the shares fit worse than so few
    masks explain, and fit better when moved.

    Args:
        measured: share of the pixels of each class, ``(K,)``.
        expected: the same, as published.
        samples: masks that were measured.
        farthest: largest shift that is tried.
    """
    if samples < _ENOUGH:
        return 0
    misfits = {shift: _misfit(measured, expected, shift) for shift in range(-farthest, farthest + 1)}
    best = min(misfits, key=lambda shift: misfits[shift])
    chance = 0.03 + len(expected) / (10 * samples)  # about four times what sampling alone gives
    return best if misfits[0] > chance and misfits[best] < 0.5 * misfits[0] else 0


def shift_of_counts(measured: np.ndarray, published: np.ndarray, farthest: int = 2) -> int:
    """The shift of class numbers, judged by exact counts.

    Args:
        measured: number of images of a whole split in which each class occurs, int ``(K,)``.
        published: the same, as published.
        farthest: largest shift that is tried.
    """
    count = len(published)
    agree = {}
    for shift in range(-farthest, farthest + 1):
        kept = np.arange(max(0, -shift), min(count, count - shift))
        agree[shift] = float((measured[kept + shift] == published[kept]).mean()) if len(kept) else 0.0
    best = max(agree, key=lambda shift: agree[shift])
    return best if agree[0] < 0.5 and agree[best] > 0.8 else 0


def _misfit(measured: np.ndarray, expected: np.ndarray, shift: int) -> float:
    """Relative entropy of the moved shares and the expected ones, over the classes that both have."""
    count = len(expected)
    kept = np.arange(max(0, -shift), min(count, count - shift))
    moved, wanted = measured[kept + shift], np.maximum(expected[kept], 1e-4)
    if not moved.sum():
        return float("inf")
    moved, wanted = moved / moved.sum(), wanted / wanted.sum()
    present = moved > 0
    return float((moved[present] * np.log(moved[present] / wanted[present])).sum())
