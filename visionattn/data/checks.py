"""The report of ``visionattn data doctor``, and the data modules that have checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
ERROR, WARNING = "error", "warning"
_EXAMPLES = 10


@dataclass
class Finding:
    """A kind of defect: how often it occurs, and the first examples."""

    kind: str
    severity: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Report:
    """Facts, findings and figures about a data set.

    Attributes:
        folder: of the figures.
        limit: samples of a split that are read at most; None: all.
        facts: name -> value, for the table.
        findings: (split, kind) -> Finding.
        tables: name -> rows for the JSON file, for instance the pixels of every class.
        figures: caption -> image file.
        contents: split -> digest of an image's file -> name of the image, of the splits that were read.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder, self.limit = folder, limit
        self.facts: dict[str, Any] = {}
        self.findings: dict[tuple[str, str], Finding] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.figures: dict[str, Path] = {}
        self.contents: dict[str, dict[bytes, str]] = {}

    def error(self, split: str, kind: str, *where: str, count: int = 1) -> None:
        """Add a defect that training or evaluation would suffer from.

        Args:
            split: of the sample.
            kind: a few words, the same for all defects of the kind.
            where: the file and the values; of several defects the first few.
            count: how many defects these are.
        """
        self._add(split, kind, where, ERROR, count)

    def warning(self, split: str, kind: str, *where: str, count: int = 1) -> None:
        """Add something unusual that can be intended; see :meth:`error`."""
        self._add(split, kind, where, WARNING, count)

    def _add(self, split: str, kind: str, where: Sequence[str], severity: str, count: int) -> None:
        finding = self.findings.setdefault((split, kind), Finding(kind, severity))
        finding.count += count
        finding.examples += where[: max(_EXAMPLES - len(finding.examples), 0)]

    @property
    def errors(self) -> int:
        """Number of errors."""
        return self._count(ERROR)

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return self._count(WARNING)

    def _count(self, severity: str) -> int:
        return sum(finding.count for finding in self.findings.values() if finding.severity == severity)

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Yield the items up to the limit, with a progress bar."""
        count = total if self.limit is None else min(total, self.limit)
        for i, item in enumerate(track(items, what, total=count, transient=True, console=Console(stderr=True))):
            if i >= count:
                return
            yield item

    def as_dict(self) -> dict[str, Any]:
        """The contents of ``doctor.json``."""
        findings = [{"split": split, **vars(finding)} for (split, _), finding in self.findings.items()]
        counts = {"errors": self.errors, "warnings": self.warnings}
        figures = {caption: str(path) for caption, path in self.figures.items()}
        return {**counts, "findings": findings, "facts": self.facts, "tables": self.tables, "figures": figures}


@runtime_checkable
class Checked(Protocol):
    """A data module with checks for ``visionattn data doctor``."""

    def validate(self, split: str, report: Report) -> None:
        """Look at every sample of a split and write what is wrong into the report; continue after a bad sample."""
