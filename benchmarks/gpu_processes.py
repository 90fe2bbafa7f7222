"""Processes of `make gpu`: each with a log and a limit, and none that outlives the run, however that ends."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

GUARD = """
import os, signal, sys
groups = set()
for line in iter(sys.stdin.readline, ""):
    number = int(line)
    groups.add(number) if number > 0 else groups.discard(-number)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""Holds the other end of a pipe. The pipe closes when this process ends, also by a signal that nobody can catch; then
the guard ends the groups of processes that were started and have not ended."""


class Guard:
    """Ends all that it watches when this process ends."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", GUARD]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def tell(self, number: int) -> None:
        """Watch the group of processes of this number; below zero: no longer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()


class Child:
    """A process in a group of its own, whose output goes to a log and, unless ``quiet``, to the screen."""

    def __init__(
        self, command: list[str], folder: Path, variables: dict[str, str], log: Path, guard: Guard, quiet: bool = False
    ) -> None:
        self.log, self.guard = log, guard
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, cwd=folder, env=variables, start_new_session=True, **pipe)
        guard.tell(self.process.pid)
        assert self.process.stdout is not None
        self.reader = threading.Thread(target=_copy, args=(self.process.stdout, log, quiet), daemon=True)
        self.reader.start()

    def wait(self, seconds: float) -> int:
        """The exit status; 124 where the process did not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            self.end()

    def end(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join(5.0)
        self.guard.tell(-self.process.pid)


def _copy(stream: BinaryIO, log: Path, quiet: bool) -> None:
    with log.open("wb") as file:
        for line in iter(stream.readline, b""):
            file.write(line)
            file.flush()
            if not quiet:
                sys.stdout.write(line.decode(errors="replace"))
                sys.stdout.flush()


def first_errors(log: Path, status: int, most: int = 12, lines: int = 3) -> list[str]:
    """What failed, by a log: pytest's failures with their first lines, else the end of the log of what failed.

    Args:
        log: the output of a process.
        status: its exit status.
        most: failures that are told.
        lines: of each.
    """
    text = log.read_text(errors="replace").splitlines() if log.is_file() else []
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text:
        if match := re.match(r"(?:FAILED|ERROR) (tests/\S.*?)(?: - (.*))?$", line):
            current = found.setdefault(match[1], [])
            if match[2] and not current:
                current.append(match[2])
        elif current is not None and line.startswith("E  ") and len(current) < lines:
            current.append(line[1:].strip())
    told = [" | ".join([name, *reasons[:lines]])[:500] for name, reasons in found.items()]
    if told:
        return told[:most] + ([f"and {len(told) - most} more"] if len(told) > most else [])
    return [line.strip()[:300] for line in text if line.strip()][-lines:] if status not in (0, 124) else []
