"""The table that a command ends with."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
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


def preview(facts: Mapping[str, Any], first: bool) -> dict[str, Any]:
    """Print on the first process what a training would be; a dry run has no results."""
    if first:
        print_results("dry run: everything can be built; labels were read, images were not", facts)
    return {}


def tell_settings(lines: Iterable[str], warning: str) -> None:
    """Print where the values of a training come from, and a warning on the error stream."""
    print("\n".join(lines), flush=True)
    if warning:
        print(f"visionattn: warning: {warning}", file=sys.stderr, flush=True)


def relative(path: str | Path) -> Path:
    """The path seen from the current folder, if it is below it."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
