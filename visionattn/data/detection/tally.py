"""Counts of what was found in a file, by reason."""

from __future__ import annotations

from dataclasses import dataclass, field

_EXAMPLES = 10


@dataclass
class Tally:
    """How often each reason occurred, and the first examples.

    Attributes:
        counts: reason -> number.
        examples: reason -> up to ten places.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, where: str) -> None:
        """Count one."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES:
            shown.append(where)

    @property
    def total(self) -> int:
        """The sum over all reasons."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        return "; ".join(f"{count:,} {reason}" for reason, count in self.counts.items())

    def explained(self) -> str:
        """The counts, each with its first example."""
        return "; ".join(f"{count:,} {reason} ({self.examples[reason][0]})" for reason, count in self.counts.items())
