"""What `visionattn data doctor` asks of a data set, and where the data set writes its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from rich.progress import track

Item = TypeVar("Item")
ERROR, WARNING = "error", "warning"
_EXAMPLES = 10


@dataclass
class Finding:
    """Something that is wrong, with how often it was met and the first places of it."""

    kind: str
    severity: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Report:
    """What was found about a data set: facts, findings, pictures.

    Attributes:
        folder: where pictures go.
        limit: at most this many samples of a split are looked at; None: all.
        facts: name -> value, for the table.
        findings: (split, kind) -> Finding.
        tables: name -> rows for the JSON file, for instance the pixels of every class.
        pictures: caption -> file.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder, self.limit = folder, limit
        self.facts: dict[str, Any] = {}
        self.findings: dict[tuple[str, str], Finding] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.pictures: dict[str, Path] = {}

    def error(self, split: str, kind: str, where: str) -> None:
        """Something that training or evaluation would be wrong with. kind: a few words, the same for all of a sort;
        where: the file, and the values.
        """
        self._find(split, kind, where, ERROR)

    def warning(self, split: str, kind: str, where: str) -> None:
        """Something odd that can be meant."""
        self._find(split, kind, where, WARNING)

    def _find(self, split: str, kind: str, where: str, severity: str) -> None:
        finding = self.findings.setdefault((split, kind), Finding(kind, severity))
        finding.count += 1
        if len(finding.examples) < _EXAMPLES:
            finding.examples.append(where)

    @property
    def errors(self) -> int:
        return sum(finding.count for finding in self.findings.values() if finding.severity == ERROR)

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """The items up to the limit, with a progress bar; look at the samples of a split through it."""
        count = total if self.limit is None else min(total, self.limit)
        for place, item in enumerate(track(items, what, total=count, transient=True)):
            if place >= count:
                return
            yield item

    def as_dict(self) -> dict[str, Any]:
        findings = [{"split": split, **vars(finding)} for (split, _), finding in self.findings.items()]
        return {"facts": self.facts, "findings": findings, "tables": self.tables}


@runtime_checkable
class Checked(Protocol):
    """A data module with checks for ``visionattn data doctor``."""

    def validate(self, split: str, report: Report) -> None:
        """Look at every sample of a split and write what is wrong into the report; continue after a bad sample."""
