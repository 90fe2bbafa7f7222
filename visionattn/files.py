"""Files: there as a whole or not at all, however writing ends; and what somebody meant by one that is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionattn.errors import did_you_mean


def near_file(path: Path) -> str:
    """The hint ``; did you mean x?`` for a file or folder that is not there, or nothing."""
    folder = path.absolute().parent
    if not folder.is_dir():
        return f", and no {folder}"
    beside = (entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return did_you_mean(path.name, {name: path.parent / name for name in beside})


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside ``path`` that takes its place at the end of the block; on an error it is removed.

    Args:
        path: the file; its folder is made.

    Raises:
        OSError: the draft cannot take its place; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> Path:
    """Write a text file as a whole, in UTF-8.

    Raises:
        OSError: it cannot be written, for instance on a full disk; what was there before stays, and nothing else.
    """
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path
