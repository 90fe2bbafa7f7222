"""Label maps: from the bytes of a mask to classes, or the reason why not, with the file and the value.

Shapes: H W map, K classes.
"""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image

from visionattn.data.decode import DAMAGE, FORMATS
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError

IGNORE = 255
"""What a pixel that counts nowhere is called, in every data set, once a mask has been read."""

_LARGEST = 65535
_FORBIDDEN = -1
_SHOWN = 8
_ENOUGH = 20


class LabelError(DataError):
    """A mask whose values cannot be classes of its data set: another label map, shifted labels, colours."""


def decode_mask(data: bytes) -> np.ndarray:
    """The numbers stored in a mask file, uint8 or larger integers (H, W).

    A palette is not looked up: the index is the label. 1, 8 and 16 bits are read as they are, grey stored as three
    equal channels as one of them.
    Raises UnreadableImage for a damaged file, LabelError for a picture in colour, with transparency, or of floats.
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                return _numbers(image)
    except (Image.UnidentifiedImageError, Image.DecompressionBombError, *DAMAGE) as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from None


def _numbers(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if image.mode == "1":
        return values.astype(np.uint8)
    if image.mode in ("L", "P") or image.mode.startswith("I"):
        return values
    if image.mode == "RGB" and (values == values[..., :1]).all():
        return values[..., 0]
    raise LabelError(
        f"it is a picture of mode {image.mode}; a mask holds one number per pixel (8 or 16 bits, or a palette)"
    )


class LabelTable:
    """Which class every stored number stands for.

    numbers: what stands for the classes 0, 1, ...; ignore: what counts nowhere, unless it is a class. Every other
    number is an error.
    Raises ConfigError for numbers outside 0..65535, repeated ones, and more than 255 classes (255 marks ignored ones).
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
        """Classes, uint8 (H, W). Raises LabelError, naming `where` and the numbers that stand for nothing."""
        low, high = int(stored.min(initial=0)), int(stored.max(initial=0))
        if low < 0 or high > _LARGEST:
            raise LabelError(f"{where}: labels run from {low} to {high}; {self._expected()}")
        classes = self._table[stored]
        if (classes < 0).any():
            raise LabelError(f"{where}: {self.problem(stored)}")
        return classes.astype(np.uint8)

    def problem(self, stored: np.ndarray) -> str:
        """What is wrong with a map's numbers, in a sentence; empty if nothing is."""
        numbers, counts = np.unique(stored, return_counts=True)
        wrong = [(int(n), int(c)) for n, c in zip(numbers, counts, strict=True) if self._table[n] < 0]
        if not wrong:
            return ""
        shown = ", ".join(f"{number} ({count} pixels)" for number, count in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return f"labels that stand for nothing: {shown}{more}; {self._expected()}"

    def _expected(self) -> str:
        ranges = np.split(np.array(self.known), np.flatnonzero(np.diff(self.known) != 1) + 1)
        words = [f"{part[0]}..{part[-1]}" if len(part) > 1 else str(part[0]) for part in ranges]
        return f"this data set has {', '.join(words[:_SHOWN])}{', ...' if len(words) > _SHOWN else ''}"


def shift_of(measured: np.ndarray, expected: np.ndarray, samples: int, farthest: int = 2) -> int:
    """By how much class numbers are off, judged by how often each class occurs: 0 where nothing speaks for a shift.

    measured, expected: shares of pixels (K,); samples: masks that were measured. A shift of +1: what is called k is
    k - 1 in truth. It is believed only where the shares fit worse than so few masks explain, and better when moved.
    """
    if samples < _ENOUGH:
        return 0
    misfits = {shift: _misfit(measured, expected, shift) for shift in range(-farthest, farthest + 1)}
    best = min(misfits, key=lambda shift: misfits[shift])
    chance = 0.03 + len(expected) / (10 * samples)  # about four times what sampling alone gives
    return best if misfits[0] > chance and misfits[best] < 0.5 * misfits[0] else 0


def shift_of_counts(measured: np.ndarray, published: np.ndarray, farthest: int = 2) -> int:
    """As :func:`shift_of`, decided by exact counts: in how many images of a whole split each class occurs, int (K,)."""
    count = len(published)
    agree = {}
    for shift in range(-farthest, farthest + 1):
        places = np.arange(max(0, -shift), min(count, count - shift))
        agree[shift] = float((measured[places + shift] == published[places]).mean()) if len(places) else 0.0
    best = max(agree, key=lambda shift: agree[shift])
    return best if agree[0] < 0.5 and agree[best] > 0.8 else 0


def _misfit(measured: np.ndarray, expected: np.ndarray, shift: int) -> float:
    """Relative entropy of what the moved shares have in common with the expected ones."""
    count = len(expected)
    places = np.arange(max(0, -shift), min(count, count - shift))
    found, wanted = measured[places + shift], np.maximum(expected[places], 1e-4)
    if not found.sum():
        return float("inf")
    found, wanted = found / found.sum(), wanted / wanted.sum()
    present = found > 0
    return float((found[present] * np.log(found[present] / wanted[present])).sum())
