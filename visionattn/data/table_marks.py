"""The marks of tables of files and labels, and why a table is none of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionattn.data.layout_marks import LOOKED_AT, Mark, files_ending, folders_in, start_of
from visionattn.data.names import EXTENSIONS, FILE_COLUMNS, LABEL_COLUMNS, SPLIT_NAMES, is_image
from visionattn.errors import counted

_SPLIT_COLUMNS = ("split", "fold", "set", "subset", "partition")
_NAMED = 6  # columns in a message


def labeled_table(root: Path, only: str | None = None) -> list[Mark]:
    """A table of files and labels, or one for each split."""
    tables: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in [root / only] if only else _tables(root):
        if (found := _columns(path)) is not None:
            split = next((split for split, names in SPLIT_NAMES.items() if path.stem.lower() in names), "")
            tables.setdefault(split, (path.name, found))
    name = next((split for split in ("train", "") if split in tables), None)
    if name is None:
        return []
    file, keys = tables[name]
    several = name == "train" and "val" in tables
    listed = {split: tables[split][0] for split in SPLIT_NAMES if split in tables} if several else file
    keys = {"source.tables": listed, **keys}
    return [Mark("csv", "classification", f"files and labels in {file}", root, keys)]


def why_no_table(root: Path) -> str:
    """What keeps a folder's tables from being read as files and labels, with what to type; empty: there is no table."""
    return next((_why_not(path) for path in _tables(root) if _columns(path) is None), "")


def _tables(root: Path) -> list[Path]:
    found = [*files_ending(root, ".csv"), *files_ending(root, ".tsv")]
    return [path for path in found if "submission" not in path.name.lower()]


def _rows(path: Path) -> list[list[str]]:
    """The first rows of a table, of which the first mostly holds the names."""
    lines = start_of(path).splitlines()[:LOOKED_AT]
    separator = max(",;\t|", key=lambda one: lines[0].count(one)) if lines else ","
    return list(csv.reader(lines, delimiter=separator))


def _columns(path: Path) -> dict[str, Any] | None:
    """Where the images of a table lie, as keys of the source; None: it is no table of files and labels."""
    rows = _rows(path)
    if len(rows) < 2 or len(rows[0]) < 2:
        return None
    names = [name.strip().lower() for name in rows[0]]
    file, label = (next((names.index(n) for n in known if n in names), None) for known in (FILE_COLUMNS, LABEL_COLUMNS))
    if file is None or label is None or "xmin" in names:
        if len(names) != 2 or not is_image(names[0]):
            return None
        file, label, rows = 0, 1, [rows[0], *rows]
    keys: dict[str, Any] = _located(path.parent, [row[file] for row in rows[1:] if len(row) > file])
    split = next((name for name in _SPLIT_COLUMNS if name in names), None)
    return keys | ({"source.split_column": rows[0][names.index(split)].strip()} if split else {})


def _why_not(path: Path) -> str:
    rows = _rows(path)
    if len(rows) < 2:
        return f"{path.name} has {counted(len(rows), 'line')} and names no image"
    names = [name.strip() for name in rows[0]]
    files = [place for place, name in enumerate(names) if name.lower() in FILE_COLUMNS]
    values = [[row[place].strip() for row in rows[1:] if place < len(row)] for place in range(len(names))]
    marked = [place for place, column in enumerate(values) if set(column) <= {"0", "1"}]
    if files and len(marked) > 1:
        first = ", ".join(names[place] for place in marked[:2])
        return (
            f"{path.name} has columns of 0 and 1 for classes ({first} ...): here one column names the class of an image"
        )
    listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return (
        f"{path.name} has the columns {listed}, of which none has a usual name for {'classes' if files else 'images'}: "
        f"data=csv data.root={path.parent} data.source.tables={path.name} data.source.file_column=NAME "
        "data.source.label_column=NAME says which they are"
    )


def _located(root: Path, files: Sequence[str]) -> dict[str, Any]:
    """Folder and ending of the images that a table names without them."""
    for file in files[:8]:
        for folder in (root, *folders_in(root)):
            for ending in ("", *sorted(EXTENSIONS)):
                if (folder / f"{file}{ending}").is_file():
                    below = folder.relative_to(root).as_posix()
                    return {"source.images": below, "source.suffix": ending}
    return {}
