"""``train.log``: what a training printed, kept in the run's folder.

Nothing here imports torch: the log begins with the command, before anything heavy is loaded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from visionattn.runs.folder import TRAIN_LOG, forget_replaced

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_current: list[Log] = []


class Log:
    """Text that waits in memory until the training has begun, and lies in ``train.log`` from then on.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: list[str] = []
        self._file: TextIO | None = None

    def write(self, text: str) -> None:
        """Add text, without the colors of a terminal. A full disk does not end a training here."""
        text = _ESCAPES.sub("", text)
        if self._file is None:
            self._waiting.append(text)
            return
        with suppress(OSError):
            self._file.write(text)
            self._file.flush()

    def begin(self) -> None:
        """Write what waits: the training has begun, and what it replaces is no longer needed."""
        if self._file is None:
            forget_replaced(self.folder)
            self._file = (self.folder / TRAIN_LOG).open("a", encoding="utf-8")
            self.write("".join(self._waiting))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class Tee:
    """A stream that also goes to the log.

    Args:
        stream: where the text goes as before.
        log: where it goes too.
    """

    def __init__(self, stream: Any, log: Log) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        """Write to both."""
        self.log.write(text)
        return int(self.stream.write(text) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def logged(folder: Path) -> Iterator[Log]:
    """Let everything that is printed meanwhile go to the log of a run too."""
    log, before = Log(folder), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = Tee(sys.stdout, log), Tee(sys.stderr, log)  # type: ignore[assignment]
    _current.append(log)
    try:
        yield log
    finally:
        _current.remove(log)
        sys.stdout, sys.stderr = before
        log.close()


def begin() -> None:
    """Note that the training of this process has begun."""
    for log in _current:
        log.begin()


def tee_anew() -> None:
    """Put the log over streams that were exchanged meanwhile, as a progress bar on a terminal does."""
    for log in _current[-1:]:
        if not isinstance(sys.stdout, Tee):
            sys.stdout, sys.stderr = Tee(sys.stdout, log), Tee(sys.stderr, log)  # type: ignore[assignment]


class Unlogged:
    """Standard output, whichever it is at the moment, without the log: for what draws over itself."""

    def __getattr__(self, name: str) -> Any:
        stream: Any = sys.stdout
        while True:
            inner = stream.stream if isinstance(stream, Tee) else getattr(stream, "rich_proxied_file", None)
            if inner is None:
                return getattr(stream, name)
            stream = inner
