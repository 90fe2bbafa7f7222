"""Sections of text: facts, tables, differences of a configuration, and sections side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from visionattn.reports.embedding import Embedding

MOST_ROWS = 2000
"""Rows of a table in a file; a table with more says so."""
DASH = "–"  # noqa: RUF001 - a dash for what there is not


class Section(Protocol):
    """A part of a report with a title.

    Attributes:
        title: above it, and in the list of contents; empty: none.
        kind: the template that draws it.
    """

    kind: ClassVar[str]

    @property
    def title(self) -> str: ...

    def view(self, images: Embedding) -> dict[str, Any]:
        """Return what the template needs."""
        ...


class Cell(NamedTuple):
    """A text in a table that sorts by a number, for instance a mean with its interval.

    Attributes:
        text: what is read.
        value: by what it sorts; None: after all others.
    """

    text: str
    value: float | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading; what it means in full.
        digits: after the point of a number that is not whole.
        bar: numbers have a bar behind them, as long as their share of ``top``.
        top: the number of a whole bar; None: the largest of the column.
        help: a sentence that is shown over the heading.
    """

    name: str
    digits: int = 2
    bar: bool = False
    top: float | None = None
    help: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with their texts, in two columns.

    Attributes:
        facts: name -> text or number.
    """

    title: str
    facts: Mapping[str, Any]
    note: str = ""
    kind: ClassVar[str] = "facts"

    def view(self, images: Embedding) -> dict[str, Any]:
        return {"facts": {name: told(value) for name, value in self.facts.items()}}


@dataclass(frozen=True)
class Table:
    """A table that sorts by a click on a heading, and that a word filters where it is long.

    Attributes:
        columns: headings, or :class:`Column`.
        rows: texts, numbers, None or :class:`Cell`, one per column.
        note: a sentence below.
        sort: name of the column that it is sorted by at first, the largest first; empty: as the rows are given.
    """

    title: str
    columns: Sequence[str | Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    sort: str = ""
    kind: ClassVar[str] = "table"

    def view(self, images: Embedding) -> dict[str, Any]:
        columns = [one if isinstance(one, Column) else Column(one) for one in self.columns]
        rows = [list(row) for row in self.rows]
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"table {self.title!r}: {len(columns)} columns, but a row of {len(row)}: {row}")
        if self.sort:
            place = [column.name for column in columns].index(self.sort)
            rows.sort(key=lambda row: _rank(row[place]))
        shown, numeric = rows[:MOST_ROWS], [_is_numeric(rows, index) for index in range(len(columns))]
        tops = [_top(column, [row[index] for row in rows]) for index, column in enumerate(columns)]
        cells = [[_cell(*given) for given in zip(row, columns, tops, strict=True)] for row in shown]
        note = self.note
        if len(rows) > len(shown):
            note = f"{note} The first {len(shown):,} of {len(rows):,} rows are shown.".strip()
        return {"columns": list(zip(columns, numeric, strict=True)), "rows": cells, "note": note, "sort": self.sort}


@dataclass(frozen=True)
class Text:
    """Paragraphs.

    Attributes:
        paragraphs: one text, or one per paragraph.
    """

    title: str
    paragraphs: str | Sequence[str]
    kind: ClassVar[str] = "text"

    def view(self, images: Embedding) -> dict[str, Any]:
        given = self.paragraphs
        return {"paragraphs": [given] if isinstance(given, str) else list(given)}


class Change(NamedTuple):
    """A value that is not the usual one.

    Attributes:
        here: the value.
        usual: what it is otherwise; None: nothing.
        by: who or what set it.
    """

    here: Any
    usual: Any
    by: str = ""


@dataclass(frozen=True)
class Differences:
    """What differs from what is usual, and on request everything.

    Attributes:
        changes: key -> :class:`Change`, or the value here and the usual one.
        everything: key -> value of the whole configuration, folded up.
        usual: what the usual values are of.
    """

    title: str
    changes: Mapping[str, Change | tuple[Any, Any]]
    everything: Mapping[str, Any] = field(default_factory=dict)
    usual: str = "recipe"
    note: str = ""
    kind: ClassVar[str] = "differences"

    def view(self, images: Embedding) -> dict[str, Any]:
        changes = {key: Change(*given) for key, given in self.changes.items()}
        return {
            "changes": {key: (told(one.here), told(one.usual), one.by) for key, one in changes.items()},
            "said": any(one.by for one in changes.values()),
            "everything": {key: told(value) for key, value in self.everything.items()},
            "usual": self.usual,
        }


@dataclass(frozen=True)
class Panels:
    """Sections side by side where there is room; their titles are small.

    Attributes:
        sections: any but panels.
    """

    title: str
    sections: Sequence[Section]
    note: str = ""
    kind: ClassVar[str] = "panels"

    def view(self, images: Embedding) -> dict[str, Any]:
        return {"sections": list(self.sections)}


def told(value: Any) -> str:
    """A value as text: whole numbers with commas, others with four digits, a dash for None."""
    if value is None:
        return DASH
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}" if math.isfinite(value) else DASH
    return str(value)


def _number(value: Any) -> float | None:
    """A value as a number to sort by; None: it is a text, or there is none."""
    if isinstance(value, Cell):
        value = value.value
    if isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value):
        return float(value)
    return None


def _rank(value: Any) -> float:
    """The place of a value among others, the largest first and what is no number last."""
    number = _number(value)
    return math.inf if number is None else -number


def _is_numeric(rows: Sequence[Sequence[Any]], index: int) -> bool:
    """Whether a column holds numbers, or nothing."""
    values = [row[index] for row in rows]
    return any(_number(value) is not None for value in values) and not any(isinstance(value, str) for value in values)


def _top(column: Column, values: Sequence[Any]) -> float:
    if column.top is not None:
        return column.top
    return max((number for value in values if (number := _number(value)) is not None), default=0.0)


def _cell(value: Any, column: Column, top: float) -> dict[str, Any]:
    """Text, number and length of the bar in percent of one cell."""
    number = _number(value)
    if isinstance(value, Cell):
        text = value.text
    elif isinstance(value, (float, np.floating)) and number is not None:
        text = f"{number:,.{column.digits}f}"
    else:
        text = told(value)
    length = 100 * min(max(number / top, 0.0), 1.0) if column.bar and number is not None and top > 0 else None
    return {"text": text, "value": number, "bar": length}
