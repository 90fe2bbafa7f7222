"""The table that a command ends with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """A value with the text that a table shows for it.

    Attributes:
        value: what a file of results gets.
        text: what a person reads.
    """

    value: Any
    text: str

    def __str__(self) -> str:
        return self.text


def values_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """The same with plain values, for a file."""
    return {name: one.value if isinstance(one, Figure) else one for name, one in results.items()}


def print_results(title: str, results: Mapping[str, Any], outputs: Mapping[str, str | Path] | None = None) -> None:
    """Print the table that a command ends with, and below it where things lie."""
    table = Table(title=title, min_width=len(title) + 4, show_header=False, title_justify="left", title_style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in results.items():
        table.add_row(escape(name), escape(str(value)))  # names of classes and files may hold brackets
    console = Console()
    console.print(table)
    for name, path in (outputs or {}).items():
        console.print(f"  {name}: [cyan]{escape(str(relative(path)))}[/cyan]", soft_wrap=True, highlight=False)


def print_whole(table: Table, console: Console | None = None) -> None:
    """Print a table of plain text without cutting a word: its lines are longer than the terminal's where they must be.

    Columns that wrap are narrowed first, to their longest word.
    In a pipe or a file every row is one line, unless ``COLUMNS`` says how wide it is.
    """
    console = console or Console()
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(len(str(cell)) for cell in (column.header, *column.cells))
    needed = Measurement.get(console, console.options.update(max_width=10_000), table)
    piped = not console.is_terminal and "COLUMNS" not in os.environ
    usual = console.width
    console.width = max(usual, needed.maximum if piped else needed.minimum)
    console.print(table)
    console.width = usual


@contextmanager
def document(asked: bool) -> Iterator[Callable[[Any], None]]:
    """What is printed goes to the error stream, so that the output is one JSON document.

    Args:
        asked: False: everything is printed as usual, and no document.

    Yields:
        What prints the document, where it is not empty.
    """
    output = sys.stdout

    def show(contents: Any) -> None:
        if asked and contents:
            print(json.dumps(contents, indent=2, default=str), file=output)

    with redirect_stdout(sys.stderr if asked else output):
        yield show


def tell_settings(lines: Iterable[str], warning: str) -> None:
    """Print where the values of a training come from, and a warning on the error stream."""
    print("\n".join(lines), flush=True)
    if warning:
        print(f"visionattn: warning: {warning}", file=sys.stderr, flush=True)


def relative(path: str | Path) -> Path:
    """The path seen from the current folder, if it is below it."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
