"""The worst and the best samples of a validation, few of them, whatever its length."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from visionattn.reports import Sample

WORST, BEST = 12, 6
"""Samples of each kind in a report."""


@dataclass(order=True)
class _Entry:
    rank: tuple[float, str]
    sample: Sample = field(compare=False)


class Ranked:
    """Samples with the lowest and the highest scores; of equal ones, those whose names come first.

    So they are the same for any order of the samples and any number of processes. A sample is drawn only where it is
    among them at the time.

    Args:
        worst: how many with the lowest scores are kept.
        best: how many with the highest.
    """

    def __init__(self, worst: int = WORST, best: int = BEST) -> None:
        self._sides: list[tuple[int, float, list[_Entry]]] = [(worst, 1.0, []), (best, -1.0, [])]

    @property
    def worst(self) -> list[Sample]:
        """The lowest first."""
        return [entry.sample for entry in self._sides[0][2]]

    @property
    def best(self) -> list[Sample]:
        """The highest first."""
        return [entry.sample for entry in self._sides[1][2]]

    def offer(self, score: float, name: str, draw: Callable[[], Sample]) -> None:
        """Keep a sample if it is among the worst or the best so far.

        Args:
            score: how good the prediction is; one that is not a number says nothing, and is passed over.
            name: of the sample.
            draw: makes what is kept, with images as thumbnails.
        """
        if math.isnan(score):
            return
        sample = None
        for limit, sign, kept in self._sides:
            rank = (sign * score, name)
            if len(kept) < limit or (kept and rank < kept[-1].rank):
                sample = draw() if sample is None else sample
                self._insert(kept, _Entry(rank, sample), limit)

    @staticmethod
    def _insert(kept: list[_Entry], entry: _Entry, limit: int) -> None:
        insort(kept, entry)
        del kept[limit:]

    @classmethod
    def united(cls, shards: Sequence[Ranked]) -> Ranked:
        """The worst and the best of those of all processes."""
        union = cls(0, 0)
        for index in range(2):
            sides = [shard._sides[index] for shard in shards]
            limit, sign, _ = sides[0]
            entries = sorted(entry for _, _, kept in sides for entry in kept)
            union._sides[index] = (limit, sign, entries[:limit])
        return union
