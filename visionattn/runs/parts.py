"""Files of a command whose figures are there: each is tried, and what could not be written is told at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from visionattn.errors import WriteError


class Parts:
    """The files of a command, of which one that fails stops no other.

    Attributes:
        failed: what could not be written -> why.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Go on where something fails inside the block: whatever it is, the figures took longer than one file.

        Args:
            what: that which is then missing.
        """
        try:
            yield
        except OSError as error:
            self.failed[what] = error.strerror or str(error)
        except Exception as error:  # noqa: BLE001 - see above
            self.failed[what] = f"{type(error).__name__}: {error}"

    def check(self, rest: str) -> None:
        """Make sure that all was written.

        Args:
            rest: what there is all the same, as a clause.

        Raises:
            WriteError: names what is missing and why; what was written stays.
        """
        if self.failed:
            why: dict[str, list[str]] = {}
            for what, reason in self.failed.items():
                why.setdefault(reason, []).append(what)
            missing = "; ".join(f"cannot write {', '.join(whats)}: {reason}" for reason, whats in why.items())
            error = WriteError(f"{missing}; {rest}")
            error.leaves_files = True
            raise error
