"""What happens to pictures that cannot be read: they are counted, listed, and too many of them stop the run."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from visionattn.errors import UnreadableImagesError

UnreadableRecord = tuple[str, str]
"""(sample id, reason)."""

_SHOWN = 10


class UnreadableImage(Exception):
    """One picture that cannot be decoded; its text is the reason. Never leaves a data set: it becomes a record."""


class UnreadableBudget:
    """Counts distinct unreadable samples of one split against `share` of its size.

    share: the part of the split that may be unreadable, e.g. 0.001. num_samples: the size of the split.
    `add` raises UnreadableImagesError as soon as more than share * num_samples distinct ids were reported. Where
    several processes must stop together, collect with `deferred()`, agree on `exceeded`, then call `check()`.
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
        """The largest number of unreadable samples that is still accepted."""
        return int(self.share * self.num_samples + 1e-9)

    @property
    def exceeded(self) -> bool:
        return len(self.records) > self.limit

    def add(self, records: Iterable[UnreadableRecord]) -> None:
        """Adds a batch's records; an id seen before is not counted again."""
        before = len(self.records)
        for sample_id, reason in records:
            self.records.setdefault(sample_id, reason)
        if len(self.records) > before and not self._deferred:
            self.check()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block `add` only collects."""
        outer, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = outer

    def check(self) -> None:
        """Raises UnreadableImagesError, with the first ten ids and reasons, when over the budget."""
        if self.exceeded:
            raise UnreadableImagesError(self.summary())

    def summary(self) -> str:
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
        """For the run's report."""
        return {
            "split": self.split,
            "num_samples": self.num_samples,
            "budget": self.limit,
            "count": len(self.records),
            "images": [{"id": sample_id, "reason": reason} for sample_id, reason in self.records.items()],
        }

    def write(self, path: str | Path) -> None:
        """Writes `as_dict()` as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
