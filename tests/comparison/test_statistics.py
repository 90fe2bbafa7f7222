"""Intervals, tests and adjustments, against scipy and known values."""

import itertools

import numpy as np
import pytest
from scipy import stats

from visionattn.comparison.statistics import bootstrap_interval, estimate, holm

VALUES = [81.2, 80.4, 82.9, 81.0]


def test_the_interval_and_the_test_are_students():
    found = estimate(VALUES)
    expected = stats.ttest_1samp(VALUES, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((low, high))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.deviation == pytest.approx(np.std(VALUES, ddof=1))


def test_a_paired_difference_is_scipys_paired_test():
    other = [80.9, 80.6, 81.1, 80.2]
    found = estimate([a - b for a, b in zip(VALUES, other, strict=True)])
    expected = stats.ttest_rel(VALUES, other)
    assert (found.p, found.interval) == (
        pytest.approx(expected.pvalue),
        pytest.approx(tuple(expected.confidence_interval(0.95))),
    )


def test_three_seeds_have_a_known_interval():
    found = estimate([1.0, 2.0, 3.0])  # t of 2 degrees of freedom at 97.5 %: 4.302653
    assert found.half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_few_values_are_resampled_completely():
    values = [1.0, 2.0, 6.0]
    means = [np.mean(one) for one in itertools.product(values, repeat=3)]
    assert bootstrap_interval(values) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_many_values_are_resampled_alike_each_time_and_as_scipy_does():
    values = np.random.default_rng(3).normal(50, 4, 20)
    found = bootstrap_interval(values)
    assert found == bootstrap_interval(values)
    other = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert found == pytest.approx((other.low, other.high), abs=0.15)


def test_one_value_has_no_interval():
    found = estimate([5.0])
    assert (found.mean, found.half, found.bootstrap, found.p, found.interval) == (5.0, None, None, None, None)


def test_equal_differences_prove_no_more_than_their_signs():
    assert estimate([0.5, 0.5, 0.5]).p == 0.25
    assert estimate([0.5] * 6).p == pytest.approx(2**-5)
    assert estimate([0.0, 0.0]).p == 1.0
    assert estimate([0.1, 0.1, 0.1]).half == 0.0  # although their sum rounds


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="finite values"):
        estimate(values)


def test_holm_steps_down():
    # Holm 1979: the smallest p is multiplied by the number of tests, the next by one less, never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
