"""Whether a comparison ranks its entries as a published one does: Kendall's tau with an interval."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from visionattn.comparison.statistics import LEVEL
from visionattn.comparison.summary import Summary
from visionattn.errors import ConfigError
from visionattn.files import write_whole

RANKING = "ranking.json"
FEWEST = 3
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Ranking:
    """Two rankings of the same entries.

    Attributes:
        entries: name -> published figure and mean over the seeds here.
        models: name -> the published model that stands for it.
        tau: Kendall's tau-b (Kendall 1945), which knows ties: 1 where all pairs stand in the same order, -1 where none.
        interval: percentile interval of the bootstrap at 95 %, over entries and over seeds.
        p: of the two-sided test that the rankings have nothing to do with each other.
    """

    entries: dict[str, tuple[float, float]]
    models: dict[str, str]
    tau: float
    interval: tuple[float, float]
    p: float


def cards_of(published: Mapping[str, str]) -> dict[str, float]:
    """Entry to the top-1 accuracy on ImageNet-1k that the card of its published model has.

    Raises:
        ConfigError: there is no such model, or its card has no accuracy.
    """
    from visionattn.backbones.zoo import backbone_files

    files, found = backbone_files(), {}
    for entry, model in published.items():
        card = files[model]["card"] if model in files else {}
        if card.get("top1") is None:
            reason = "is no backbone" if model not in files else "has no published accuracy"
            raise ConfigError(f"published.{entry}={model} {reason}; see `visionattn list backbones`")
        found[entry] = float(card["top1"])
    return found


def rank(
    values: Mapping[str, Mapping[int, float]], published: Mapping[str, float]
) -> tuple[float, tuple[float, float], float]:
    """Kendall's tau-b of the means over seeds and the published figures, its interval, and its p value.

    In each of 10,000 resamples the entries are drawn with replacement and, for each drawn one, its seeds. Resamples
    without two different values on both sides have no tau and are left out. The draws always start from the same seed.

    Args:
        values: entry -> seed -> figure; larger is better.
        published: entry -> figure; larger is better.

    Raises:
        ValueError: fewer than three entries, or an entry without a value.
    """
    names = list(published)
    if len(names) < FEWEST or not all(values.get(name) for name in names):
        raise ValueError(f"a ranking needs {FEWEST} entries or more, each with a value, got {names}")
    ours = [np.array(list(values[name].values()), dtype=np.float64) for name in names]
    theirs = np.array([published[name] for name in names])
    tau, p = stats.kendalltau([one.mean() for one in ours], theirs)
    random = np.random.default_rng(0)
    drawn, means = np.empty((_RESAMPLES, len(names)), dtype=np.int64), np.empty((_RESAMPLES, len(names)))
    for resample in range(_RESAMPLES):
        drawn[resample] = random.integers(0, len(names), len(names))
        for place, i in enumerate(drawn[resample]):
            means[resample, place] = ours[i][random.integers(0, len(ours[i]), len(ours[i]))].mean()
    found = _taus(means, theirs[drawn])
    low, high = np.nanpercentile(found, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(tau), (float(low), float(high)), float(p)


def _taus(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Kendall's tau-b of each row of two tables; NaN where all values of a side are equal."""
    first, second = np.triu_indices(ours.shape[1], 1)
    orders = [np.sign(table[:, first] - table[:, second]) for table in (ours, theirs)]
    scale = np.sqrt(np.prod([(order**2).sum(1) for order in orders], axis=0))
    return np.divide((orders[0] * orders[1]).sum(1), scale, out=np.full(len(scale), np.nan), where=scale > 0)


def ranking_of(found: Summary, published: Mapping[str, str]) -> Ranking | None:
    """The ranking of a comparison beside that of the published models; None: too few entries have come to their end.

    Args:
        found: the comparison.
        published: entry -> name of a backbone.
    """
    sign = 1 if found.mode == "max" else -1
    values = {row.name: {seed: sign * value for seed, value in row.values.items()} for row in found.rows if row.values}
    cards = {name: top1 for name, top1 in cards_of(published).items() if name in values}
    if len(cards) < FEWEST:
        return None
    tau, interval, p = rank(values, cards)
    means = {name: sign * float(np.mean(list(values[name].values()))) for name in cards}
    entries = {name: (cards[name], means[name]) for name in sorted(cards, key=lambda name: -cards[name])}
    return Ranking(entries, {name: published[name] for name in entries}, tau, interval, p)


def lines(ranking: Ranking, metric: str) -> list[str]:
    """The ranking for the screen, at most 80 columns."""
    told = [f"{'entry':<24}{'published model':<20}{'top-1':>8}{metric:>14}"]
    for name, (card, mean) in ranking.entries.items():
        told.append(f"{name:<24}{ranking.models[name]:<20}{card:>8.2f}{mean:>14.2f}")
    low, high = ranking.interval
    told.append(
        f"Kendall's tau {ranking.tau:.2f} (95 % interval {low:.2f} to {high:.2f}, p {ranking.p:.2f}) with the published"
    )
    return [*told, f"ImageNet top-1 of {len(ranking.entries)} models"]


def write(ranking: Ranking, folder: Path) -> Path:
    """Write ``ranking.json``."""
    return write_whole(folder / RANKING, json.dumps(asdict(ranking), indent=2) + "\n")
