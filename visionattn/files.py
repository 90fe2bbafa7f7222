"""Files: there as a whole or not at all, however writing ends; and what somebody meant by one that is not there."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from visionattn.errors import ConfigError, did_you_mean

_MINUTE, _DAY = 60.0, 86_400.0


def near_file(path: Path) -> str:
    """The hint ``; did you mean x?`` for a file or folder that is not there, or nothing.

    Where the folder that it would lie in is not there either, the first one that is missing is named.
    """
    missing = path
    try:
        while not missing.absolute().parent.is_dir():
            missing = missing.parent
        beside = [entry.name for entry in missing.absolute().parent.iterdir() if not entry.name.startswith(".")]
    except OSError:  # a folder that may not be looked into
        return ""
    hint = did_you_mean(missing.name, beside, shown=missing.parent.joinpath)
    return hint if missing == path else f", and no {missing}{hint}"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside ``path`` that takes its place at the end of the block; on an error it is removed.

    The draft is a file or a folder that the block makes; its name ends as that of ``path``. What a process that was
    killed left of an earlier draft is removed by the next process that writes the same file.

    Args:
        path: the file or folder; the one that it lies in is made.

    Raises:
        OSError: the draft cannot take its place; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _left_behind(path):
        _remove(left)
    draft = _beside(path)
    try:
        yield draft
        _put(draft, path)
    finally:
        _remove(draft)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As ``whole``, of an empty folder to write into; it replaces a folder that is there.

    Raises:
        ConfigError: it is the folder that the process runs in, and would be gone from under a shell.
    """
    if path.resolve() == Path.cwd():
        raise ConfigError(f"{path} is the folder that the command runs in, which cannot be replaced; name a new one")
    with whole(path) as draft:
        draft.mkdir()
        yield draft


def write_whole(path: Path, text: str) -> Path:
    """Write a text file as a whole, in UTF-8; what UTF-8 cannot write, as names of files may hold it, is escaped.

    Raises:
        OSError: it cannot be written, for instance on a full disk; what was there before stays, and nothing else.
    """
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return path


def write_rows(path: Path, rows: Iterable[Sequence[Any]]) -> Path:
    """Write a CSV file as a whole; as :func:`write_whole`."""
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    return write_whole(path, table.getvalue())


def _beside(path: Path, ending: str = "") -> Path:
    own = f"{socket.gethostname()}-{os.getpid()}"
    return path.with_name(f".{path.name}.{own}{ending}{path.suffix}")


def _put(draft: Path, path: Path) -> None:
    """Give a draft its name; a folder that has the name already goes once the new one is in its place."""
    if not (draft.is_dir() and path.is_dir()):
        draft.replace(path)
        return
    old = _beside(path, "-old")
    path.replace(old)
    try:
        draft.replace(path)
    except OSError:
        old.replace(path)
        raise
    _remove(old)


def _left_behind(path: Path) -> list[Path]:
    """Drafts of ``path`` that nobody writes to anymore."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(.+)-(\d+)(-old)?{re.escape(path.suffix)}")
    left = []
    for entry in _hidden_at_first(path.parent.absolute()):
        draft = name.fullmatch(entry.name)
        if draft and (path.exists() or not draft[3]) and _is_abandoned(entry, draft[1], int(draft[2])):
            left.append(entry)
    return left


@cache
def _hidden_at_first(folder: Path) -> tuple[Path, ...]:
    """The hidden entries of a folder when this process first wrote into it: of 100,000 files, a list takes 70 ms."""
    return tuple(entry for entry in folder.iterdir() if entry.name.startswith("."))


def _is_abandoned(draft: Path, host: str, process: int) -> bool:
    """Whether the process that wrote a draft is gone; of one on another machine, that it rested for a day."""
    try:
        rested = time.time() - draft.stat().st_mtime
    except OSError:  # in its place by now
        return False
    gone = host == socket.gethostname() and rested > _MINUTE and not _lives(process)
    return gone or rested > _DAY


def _lives(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    """Remove a draft where one is; what cannot be removed stays."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()
