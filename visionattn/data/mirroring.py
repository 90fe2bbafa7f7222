"""Classes that a mirror image changes, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

HALF = 0.5
"""The share of images that is mirrored where nothing speaks against it."""
WRITING = "classes of one character are writing, which a mirror changes"
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def why_not_mirrored(names: Sequence[str]) -> str:
    """Why images of these classes are not to be mirrored, in a few words; empty: nothing speaks against it.

    Several classes that are all named by one character are letters or digits. Two classes that differ in ``left`` and
    ``right`` (as words of their own, or ``l`` and ``r``) are each other's mirror image.
    """
    if len(names) > 1 and all(len(name) == 1 for name in names):
        return WRITING
    known = {_words(name): name for name in names}
    for words, name in known.items():
        other = known.get(tuple(_SIDES.get(word, word) for word in words))
        if other is not None and other != name:
            return f"a mirror makes {other} of {name}"
    return ""


def _words(name: str) -> tuple[str, ...]:
    """Words of a name in small letters: ``TurnLeft``, ``turn_left`` and ``turn-left`` have the same."""
    return tuple(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name))
