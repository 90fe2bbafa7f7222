"""The run card: a README.md in the run's folder that says what was done, on what, and what came out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from visionattn.runs import provenance


def write_card(
    output: Path,
    *,
    title: str,
    command: str,
    seed: int,
    results: Mapping[str, Any],
    data: Mapping[str, Any],
    pictures: Mapping[str, Path],
) -> None:
    """Writes the card.

    Args:
        output: the file.
        title: first line.
        command: as it was typed.
        seed: of the run.
        results: name -> figure, as in the final table.
        data: name -> figure, sizes and hashes of the splits among them.
        pictures: caption -> file, linked relative to the card.
    """
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    about = {"finished": now, "commit": provenance.commit(), "hardware": provenance.hardware(), "seed": seed}
    lines = [f"# {title}", "", "```", command, "```", ""]
    for heading, rows in (("Results", results), ("Data", data), ("Run", about), ("Versions", provenance.versions())):
        lines += [f"## {heading}", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in rows.items()]
        lines.append("")
    for caption, file in pictures.items():
        lines += [f"![{caption}]({file.relative_to(output.parent).as_posix()})", ""]
    output.write_text("\n".join(lines), encoding="utf-8")


def print_results(title: str, results: Mapping[str, Any], places: Mapping[str, str | Path] | None = None) -> None:
    """The table that a command ends with, and below it where things lie."""
    table = Table(title=title, min_width=len(title) + 4, show_header=False, title_justify="left", title_style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in results.items():
        table.add_row(name, str(value))
    console = Console()
    console.print(table)
    for name, place in (places or {}).items():
        console.print(f"  {name}: [cyan]{relative(place)}[/cyan]", soft_wrap=True, highlight=False)


def relative(path: str | Path) -> Path:
    """The path seen from the current folder, if it is below it."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
