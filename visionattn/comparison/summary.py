"""What a comparison found: a row for each entry, a pair for each two of them, and a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visionattn.comparison.results import Result
from visionattn.comparison.statistics import LEVEL, Estimate, estimate, holm


@dataclass(frozen=True)
class Cost:
    """What a model needs on this machine.

    Attributes:
        training: images a second in training (forward, backward, optimizer).
        inference: images a second in a forward pass.
        memory: bytes of all tensors at the peak of a training step.
        energy: joules of an image in training; None: the machine does not tell.
    """

    training: float | None = None
    inference: float | None = None
    memory: int | None = None
    energy: float | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of an entry beside its results.

    Attributes:
        params: parameters of backbone and head.
        gmacs: multiply-adds of an image, in units of 1e9.
        shared: parameters that start with the reference's values; None: not known.
        changed: what was changed to match the reference; empty: nothing.
        deviation: how far what was matched is from the reference; None: nothing was matched.
        cost: as measured; None: not measured.
    """

    params: int | None = None
    gmacs: float | None = None
    shared: int | None = None
    changed: str = ""
    deviation: float | None = None
    cost: Cost | None = None


@dataclass(frozen=True)
class Row:
    """An entry.

    Attributes:
        name: of the entry.
        facts: see :class:`Facts`.
        metrics: metric -> its estimate over seeds.
        values: seed -> the metric that is compared.
        failed: seed -> why its training failed.
    """

    name: str
    facts: Facts
    metrics: Mapping[str, Estimate]
    values: Mapping[int, float]
    failed: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Two entries, paired by seed.

    Attributes:
        first: the better one by its mean.
        second: the other one.
        difference: of the metric, first minus second, over the seeds that both have.
        p: adjusted for the number of pairs by Holm's procedure; None: too few seeds.
    """

    first: str
    second: str
    difference: Estimate
    p: float | None

    @property
    def told_apart(self) -> bool:
        """Whether the first one is better, judged together with all other pairs."""
        return self.p is not None and self.p < 1 - LEVEL


@dataclass(frozen=True)
class Summary:
    """A comparison with its findings.

    Attributes:
        metric: what is compared.
        mode: ``max`` or ``min``.
        rows: the reference first.
        pairs: every two entries that share a seed, better ones first.
        seeds: of all trainings.
        results: of all trainings.
        notes: sentences that a reader must know.
        about: name -> text.
        command: as it was typed.
        folder: of the comparison.
    """

    metric: str
    mode: str
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    folder: Path | None = None

    @property
    def ranked(self) -> list[Row]:
        """The rows with values, the best one first."""
        rows = [row for row in self.rows if self.metric in row.metrics]
        return sorted(rows, key=lambda row: row.metrics[self.metric].mean, reverse=self.mode == "max")

    def pair(self, one: str, other: str) -> Pair | None:
        """The pair of two entries, whichever is the better one."""
        return next((pair for pair in self.pairs if {pair.first, pair.second} == {one, other}), None)

    def versus(self, row: Row) -> tuple[Estimate, Pair] | None:
        """The difference of a row to the reference, with its sign, and their pair."""
        pair = self.pair(row.name, self.rows[0].name)
        if pair is None or row is self.rows[0]:
            return None
        reference = self.rows[0].values
        shared = [seed for seed in row.values if seed in reference]
        return estimate([row.values[seed] - reference[seed] for seed in shared]), pair


def summarize(
    results: Sequence[Result],
    metric: str,
    mode: str,
    facts: Mapping[str, Facts],
    notes: Sequence[str] = (),
    about: Mapping[str, str] | None = None,
    command: str = "",
    folder: Path | None = None,
) -> Summary:
    """Judge the results of trainings.

    Args:
        results: of all trainings, those of the reference first.
        metric: what is compared.
        mode: ``max`` or ``min``.
        facts: entry -> what is known of it.
        notes: sentences that a reader must know.
        about: name -> text, for the report.
        command: as it was typed.
        folder: of the comparison.
    """
    names = list(dict.fromkeys(result.entry for result in results))
    rows = tuple(_row(name, [one for one in results if one.entry == name], metric, facts[name]) for name in names)
    seeds = tuple(sorted({result.seed for result in results}))
    found = Summary(metric, mode, rows, (), seeds, tuple(results), tuple(notes), about or {}, command, folder)
    pairs = [pair for one, other in itertools.combinations(found.ranked, 2) if (pair := _pair(one, other))]
    told = [i for i, pair in enumerate(pairs) if pair.difference.p is not None]
    adjusted = dict(zip(told, holm([pairs[i].difference.p or 0.0 for i in told]), strict=True))
    judged = [Pair(pair.first, pair.second, pair.difference, adjusted.get(i)) for i, pair in enumerate(pairs)]
    return Summary(metric, mode, rows, tuple(judged), seeds, tuple(results), tuple(notes), about or {}, command, folder)


def _row(name: str, results: Sequence[Result], metric: str, facts: Facts) -> Row:
    done = [result for result in results if not result.error]
    metrics: dict[str, list[float]] = {}
    for result in done:
        for key, value in result.metrics.items():
            metrics.setdefault(key, []).append(value)
    values = {result.seed: result.metrics[metric] for result in done if metric in result.metrics}
    failed = {result.seed: result.error for result in results if result.error}
    failed |= {result.seed: f"it has no finite {metric}" for result in done if metric not in result.metrics}
    return Row(name, facts, {key: estimate(found) for key, found in metrics.items()}, values, failed)


def _pair(one: Row, other: Row) -> Pair | None:
    shared = [seed for seed in one.values if seed in other.values]
    if not shared:
        return None
    return Pair(one.name, other.name, estimate([one.values[seed] - other.values[seed] for seed in shared]), None)
