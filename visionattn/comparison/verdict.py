"""The verdict of a comparison in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from visionattn.comparison.statistics import Estimate
from visionattn.comparison.summary import Summary
from visionattn.errors import counted


def sentences(found: Summary) -> list[str]:
    """Who beats whom by how much, and who cannot be told apart."""
    return [*_failures(found), *_wins(found), *_ties(found), *_untold(found)]


def difference(one: Estimate) -> str:
    """``0.8 ± 0.3`` of a difference; its mean alone where there is no interval."""
    digits = digits_of(one.half if one.half else one.mean)
    mean = f"{abs(one.mean):.{digits}f}"
    return mean if one.half is None else f"{mean} ± {one.half:.{digits}f}"


def rounded(value: float | None) -> str:
    """Four digits, and all that stand before the point; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def digits_of(value: float) -> int:
    """Decimals that show a number with two digits at least, and never more than six."""
    decimals = 1 if abs(value) >= 1 else 2
    while decimals < 6 and value and abs(value) < 10.0 ** (1 - decimals):
        decimals += 1
    return decimals


def _wins(found: Summary) -> Iterator[str]:
    for row in found.ranked:
        beaten = [pair for pair in found.pairs if pair.first == row.name and pair.told_apart]
        if beaten:
            told = [f"{pair.second} by {difference(pair.difference)}" for pair in beaten]
            yield f"{row.name} beats {joined(told)}"


def _ties(found: Summary) -> Iterator[str]:
    """Entries of which no two can be told apart, next to each other in the order of their means."""
    names = [row.name for row in found.ranked]
    tied = {frozenset((pair.first, pair.second)) for pair in found.pairs if not pair.told_apart and pair.p is not None}
    groups: list[list[str]] = []
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and all(frozenset((one, names[end])) in tied for one in names[start:end]):
            end += 1
        group = names[start:end]
        if len(group) > 1 and not any(set(group) <= set(known) for known in groups):
            groups.append(group)
    apart = [pair for pair in tied if not any(pair <= set(group) for group in groups)]
    groups += [[name for name in names if name in pair] for pair in apart]
    for group in groups:
        fewest = min(len(row.values) for row in found.rows if row.name in group)
        yield f"{joined(group)} cannot be told apart with {counted(fewest, 'seed')}"


def _untold(found: Summary) -> Iterator[str]:
    single = [pair for pair in found.pairs if pair.p is None]
    if single:
        yield "a difference of one seed has no interval: nothing can be told of it; give seeds=3 or more"
    if not found.pairs:
        yield "no two entries have a result of the same seed, so nothing can be told"


def _failures(found: Summary) -> Iterator[str]:
    lost = [row.name for row in found.rows if not row.values]
    if lost:
        yield f"{joined(lost)} {'has' if len(lost) == 1 else 'have'} no result"


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
