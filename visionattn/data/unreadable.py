"""A budget of unreadable images: they are counted and listed, and too many of them stop the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from visionattn.errors import UnreadableImagesError
from visionattn.files import write_whole

UnreadableRecord = tuple[str, str]
"""(sample id, reason)."""

_SHOWN = 10


class UnreadableImage(Exception):
    """One image that cannot be decoded, with the reason. A data set turns it into a record."""


class UnreadableBudget:
    """A count of distinct unreadable samples of one split.

    :meth:`add` raises an error as soon as more than ``share * num_samples`` distinct ids were reported. Where several
    processes must stop together, they collect with :meth:`deferred`, agree on :attr:`exceeded`, and call :meth:`check`.

    Args:
        share: of the split that may be unreadable, e.g. 0.001.
        num_samples: size of the split.
        split: its name.

    Raises:
        UnreadableImagesError: ``share`` is not between 0 and 1.
    """

    def __init__(self, share: float, num_samples: int, split: str = "train") -> None:
        if not 0.0 <= share <= 1.0:
            raise UnreadableImagesError(f"unreadable_budget is a share between 0 and 1, got {share}")
        self.share = share
        self.num_samples = num_samples
        self.split = split
        self.records: dict[str, str] = {}
        self._deferred = False

    @property
    def limit(self) -> int:
        """The largest accepted number of unreadable samples."""
        return int(self.share * self.num_samples + 1e-9)

    @property
    def exceeded(self) -> bool:
        """Whether there are more."""
        return len(self.records) > self.limit

    def add(self, records: Iterable[UnreadableRecord]) -> None:
        """Add a batch's records; an id is counted once."""
        before = len(self.records)
        for sample_id, reason in records:
            self.records.setdefault(sample_id, reason)
        if len(self.records) > before and not self._deferred:
            self.check()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A context in which :meth:`add` only collects."""
        outer, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = outer

    def check(self) -> None:
        """Check the budget.

        Raises:
            UnreadableImagesError: it is exceeded; the message has the first ten ids and reasons.
        """
        if self.exceeded:
            raise UnreadableImagesError(self.summary())

    def summary(self) -> str:
        """The count and the first ten ids and reasons."""
        count = len(self.records)
        lines = [
            f"{count} of the {self.num_samples} {self.split} images cannot be read; "
            f"the budget is {self.limit} (unreadable_budget={self.share:g})."
        ]
        lines += [f"  {sample_id}: {reason}" for sample_id, reason in list(self.records.items())[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  ... and {count - _SHOWN} more")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The contents of the run's report."""
        return {
            "split": self.split,
            "num_samples": self.num_samples,
            "budget": self.limit,
            "count": len(self.records),
            "images": [{"id": sample_id, "reason": reason} for sample_id, reason in self.records.items()],
        }

    def write(self, path: str | Path) -> None:
        """Write :meth:`as_dict` as JSON."""
        write_whole(Path(path), json.dumps(self.as_dict(), indent=2) + "\n")
