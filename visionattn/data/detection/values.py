"""Values of an annotation file as other tools write them: numbers as text, flags as text or null, ids of any kind."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no", "none", "null")
_INT64 = 2**63


def as_number(value: Any) -> float | None:
    """A finite number, also one written as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer that no float holds
        return None


def as_whole(value: Any) -> int | None:
    """A whole number, also one written as text or as a float; None for anything else."""
    number = as_number(value)
    return int(number) if number is not None and number == int(number) else None


def as_flag(value: Any) -> bool | None:
    """True or False, also as number, text or null; None for anything else."""
    if value is None or isinstance(value, (bool, int, float)):
        return bool(value)
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def as_text(value: Any) -> str | None:
    """Text that is not empty and can be encoded; numbers become text; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return value


def four_numbers(box: Any) -> list[float] | None:
    """Four numbers that were written as text, one by one or together; None for anything else."""
    if isinstance(box, str):
        box = [part for part in re.split(r"[\s,;]+", box.strip(" \t[]()")) if part]
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return None
    numbers = [as_number(value) for value in box]
    return None if None in numbers else [float(number) for number in numbers if number is not None]


def usable_id(value: Any) -> Hashable | None:
    """An id as the file has it: a number or text; None for anything else."""
    if isinstance(value, str):
        return value if value else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return None
    return value


def rising(value: Any) -> tuple[int, float, str]:
    """The place of an id in rising order: numbers by value, also those written as text, then other text."""
    if isinstance(value, str):
        return (0, int(value), value) if re.fullmatch(r"-?[0-9]{1,30}", value) else (1, 0, value)
    return 0, value, ""


def numbered(ids: Sequence[Any]) -> list[int]:
    """A number of its own for every image: the file's ids if all are whole numbers of 64 bits, else 1, 2, ..."""
    if all(isinstance(one, int) and -_INT64 <= one < _INT64 for one in ids):
        return list(ids)
    return list(range(1, len(ids) + 1))


class IdTable:
    """Where an id stands in a list, also if another part of the file writes it as another type ("7", 7, 7.0).

    Args:
        ids: all different.
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        self._exact = {one: index for index, one in enumerate(ids)}
        self._loose: dict[Any, int | None] = {}
        for one, index in self._exact.items():
            key = _loose(one)
            self._loose[key] = None if key in self._loose else index

    def __len__(self) -> int:
        return len(self._exact)

    def exact(self, value: Any) -> int | None:
        """The index of an id; None: it is not in the list."""
        try:
            return self._exact.get(value)
        except TypeError:  # a list, or an object
            return None

    def loose(self, value: Any) -> int | None:
        """The index of the only id that differs in type alone; None: there is none."""
        return None if usable_id(value) is None else self._loose.get(_loose(value))


def _loose(value: Any) -> Any:
    whole = as_whole(value)
    return value if whole is None else whole
