"""Tables of comma-separated values as people have them: any usual separator, with or without a line of names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionattn.data.facts import AUTO
from visionattn.data.names import EXTENSIONS
from visionattn.data.text import decoded
from visionattn.errors import DataError

_SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        path: the file.
        names: of the columns; 0, 1, ... where the file has no line of names.
        rows: the values of each row, with the number of its line.
    """

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def place(self, column: str, usual: Sequence[str], key: str, position: int | None = None) -> int:
        """Place of a column.

        Args:
            column: its name, or ``auto``: the first of the ``usual`` names that the table has.
            usual: names that people give it, in lower case.
            key: of the configuration, for the message.
            position: of ``auto`` where the file has no line of names.

        Raises:
            DataError: there is no such column.
        """
        if str(column) in self.names:
            return self.names.index(str(column))
        lower = [name.lower() for name in self.names]
        found = [name for name in usual if name in lower] if column == AUTO else []
        if found:
            return lower.index(found[0])
        if column == AUTO and position is not None and self.names[:1] == ("0",) and position < len(self.names):
            return position
        raise DataError(
            f"{self.path} has no column {'for ' + key if column == AUTO else column}; set {key} to one of "
            f"{', '.join(self.names)}"
        )

    def keeping(self, values: Mapping[str, Any]) -> Table:
        """The rows that have these values, compared as text and as numbers.

        Raises:
            DataError: there is no such column.
        """
        places = {self.place(str(name), (), "data.source.keep"): value for name, value in values.items()}
        rows = (row for row in self.rows if all(_equal(row[1], place, value) for place, value in places.items()))
        return Table(self.path, self.names, tuple(rows))

    def column(self, place: int) -> Iterator[tuple[int, str]]:
        """(line, value) of every row.

        Raises:
            DataError: a row is shorter, or its value is empty.
        """
        for line, row in self.rows:
            value = row[place].strip() if place < len(row) else ""
            if not value:
                raise DataError(f"{self.path} line {line} has no value for {self.names[place]}: {', '.join(row)[:80]}")
            yield line, value


def read_table(path: Path, separator: str = AUTO) -> Table:
    """Read a file.

    The first line holds the names of the columns, unless one of its values is the name of an image file.

    Args:
        path: the file.
        separator: between values; ``auto``: the most frequent of comma, semicolon, tab and bar in the first line.

    Raises:
        DataError: missing, in another encoding than UTF-8 and UTF-16, empty, or no table.
    """
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise DataError(f"the table {path} is empty")
    if separator == AUTO:
        separator = max(_SEPARATORS, key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        rows = [(reader.line_num, tuple(row)) for row in reader if any(value.strip() for value in row)]
    except (csv.Error, TypeError) as error:
        raise DataError(f"the table {path} cannot be read: {error}") from None
    names = tuple(value.strip() for value in rows[0][1])
    if any(Path(name).suffix.lower() in EXTENSIONS for name in names):
        return Table(path, tuple(str(i) for i in range(len(names))), tuple(rows))
    return Table(path, names, tuple(rows[1:]))


def read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The first two values of every line of a file without a line of names.

    Raises:
        DataError: see :func:`read_table`.
    """
    for row in csv.reader(io.StringIO(_text(path))):
        if len(row) >= 2:
            yield row[0].strip(), row[1].strip()


def named_file(name: str, folders: Sequence[Path]) -> str:
    """The name of a file as this machine writes it: a table from Windows has backslashes between folders."""
    if "\\" not in name or any((folder / name).is_file() for folder in folders):
        return name
    return name.replace("\\", "/")


def _equal(row: Sequence[str], place: int, value: Any) -> bool:
    text = row[place].strip() if place < len(row) else ""
    try:
        return text == str(value) or float(text) == float(value)
    except ValueError:
        return False


def _text(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise DataError(f"the table {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8 or UTF-16 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
