"""Names on pictures: fonts that have their characters, and names that can be drawn at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import ImageFont

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_USUAL = "DejaVu Sans"
_SPACES = ("Cc", "Zl", "Zp", "Zs")
_NO_REAL_FONTS = ("Last Resort",)  # they have a box for every character


@lru_cache(maxsize=128)
def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """A font of a size in pixels that has the characters of a text, if any installed one has.

    Args:
        size: in pixels.
        text: what will be written.
    """
    return ImageFont.truetype(_file_for(text), size)


def drawable(names: Sequence[str]) -> list[str]:
    """Names as they can be drawn: in one line, and ``class 3`` where no installed font has the characters."""
    shown = [_one_line(name) for name in names]
    return [name if name and _can_be_drawn(name) else f"class {k}" for k, name in enumerate(shown)]


def readable(text: str) -> str:
    """A text in one line, with a question mark for every character that no installed font has."""
    text = _one_line(text)
    if _can_be_drawn(text):
        return text
    return "".join(letter if _can_be_drawn(letter) else "?" for letter in text)


def shortened(text: str, most: int) -> str:
    """The text with an ellipsis in its middle, if it is longer than ``most`` characters."""
    if len(text) <= most:
        return text
    front = most // 2
    return f"{text[:front]}…{text[len(text) - (most - 1 - front) :]}"


def for_plot(names: Sequence[str], most: int = 28) -> list[str]:
    """Names for matplotlib: drawable, short, and with no dollar sign that starts a formula."""
    return [shortened(name, most).replace("$", r"\$") for name in drawable(names)]


def families(names: Sequence[str]) -> list[str]:
    """Families of fonts for matplotlib that have all the characters of names."""
    others = {_family_of(_file_for(name)) for name in drawable(names)} - {_USUAL}
    return [_USUAL, *sorted(others)]


def _one_line(name: str) -> str:
    kept = "".join(" " if unicodedata.category(letter) in _SPACES else letter for letter in name)
    return " ".join(kept.split())


def _can_be_drawn(text: str) -> bool:
    return _letters(text) <= _characters(_file_for(text))


def _letters(text: str) -> frozenset[int]:
    return frozenset(map(ord, text)) - {ord(" ")}


@lru_cache(maxsize=4096)
def _file_for(text: str) -> str:
    """The file of the usual font, or of the first other one that has the characters that it lacks."""
    from matplotlib import font_manager

    usual, letters = font_manager.findfont(_USUAL), _letters(text)
    if letters <= _characters(usual):
        return usual
    entries = sorted({(entry.name, entry.fname) for entry in font_manager.fontManager.ttflist})
    for name, file in entries:
        if not name.startswith(_NO_REAL_FONTS) and letters <= _characters(file):
            return file
    return usual


@lru_cache(maxsize=512)
def _characters(file: str) -> frozenset[int]:
    try:
        return frozenset(_opened(file).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()


def _family_of(file: str) -> str:
    return str(_opened(file).family_name)


def _opened(file: str) -> FT2Font:
    from matplotlib.ft2font import FT2Font

    return FT2Font(file)
