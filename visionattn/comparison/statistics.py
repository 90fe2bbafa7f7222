"""What a few trainings tell: means, paired differences, and how sure they are.

The seeds of a comparison are few, so two intervals are given. Student's t interval is exact for normal values and wide
for few seeds; verdicts rest on it. The percentile bootstrap (Efron 1979) assumes no shape, but its intervals are too
narrow for few values: three values have ten different resamples. Several pairs are judged together by Holm's step-down
procedure (Holm 1979), so that the chance of one false verdict among all of them stays below 5 %.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
_ENUMERATED = 6  # values up to which all resamples are made: 6 ** 6 = 46,656
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its intervals at 95 %.

    Attributes:
        count: number of values.
        mean: their mean.
        deviation: their standard deviation (n - 1); None for one value.
        half: half the width of Student's t interval around the mean; None for one value.
        bootstrap: percentile interval of the bootstrap; None for one value.
        p: of the two-sided test that the mean is 0; None for one value.
    """

    count: int
    mean: float
    deviation: float | None = None
    half: float | None = None
    bootstrap: tuple[float, float] | None = None
    p: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of Student's t interval."""
        return None if self.half is None else (self.mean - self.half, self.mean + self.half)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values, such as a metric over seeds, or the differences of two entries paired by seed.

    Values that are all equal and not 0 leave Student's test without a scale; ``p`` is then that of the sign test
    (2 to the power of 1 - n), since a metric counted on few images repeats by chance.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if not given.size or not np.isfinite(given).all():
        raise ValueError(f"a mean needs finite values, got {list(values)}")
    count, mean = int(given.size), float(given.mean())
    if count == 1:
        return Estimate(1, mean)
    deviation = 0.0 if (given == given[0]).all() else float(given.std(ddof=1))
    error = deviation / count**0.5
    half = float(stats.t.ppf(0.5 + LEVEL / 2, count - 1)) * error
    if deviation:
        p = float(2 * stats.t.sf(abs(mean) / error, count - 1))
    else:
        p = 1.0 if mean == 0 else 2.0 ** (1 - count)
    return Estimate(count, mean, deviation, half, bootstrap_interval(given), p)


def bootstrap_interval(values: Sequence[float] | np.ndarray[Any, Any]) -> tuple[float, float]:
    """Percentile interval of the mean at 95 %, of all resamples of up to 6 values, else of 10,000 drawn ones.

    The draws always start from the same seed, so that equal values have equal intervals.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.size <= _ENUMERATED:
        means = np.array([sum(one) for one in itertools.product(given.tolist(), repeat=given.size)]) / given.size
    else:
        draws = np.random.default_rng(0).integers(0, given.size, (_RESAMPLES, given.size))
        means = given[draws].mean(axis=1)
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number by Holm's step-down procedure, in the same order."""
    count, adjusted, largest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
