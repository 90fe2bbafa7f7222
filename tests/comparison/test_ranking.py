"""The rank correlation with published figures: its value, its interval, what is refused, and its lines."""

import json

import numpy as np
import pytest
from scipy import stats

from visionattn.commands.compare import check_published, tell_ranking
from visionattn.comparison.ranking import _taus, cards_of, rank, ranking_of
from visionattn.comparison.statistics import estimate
from visionattn.comparison.summary import Facts, Row, Summary
from visionattn.errors import ConfigError

MODELS = {"window": "swin_tiny", "neighborhood": "nat_tiny", "grid": "maxvit_tiny", "query": "gcvit_tiny"}


def summary(values, mode="max"):
    rows = tuple(Row(name, Facts(), {"val/top1": estimate(one)}, dict(enumerate(one))) for name, one in values.items())
    return Summary("val/top1", mode, rows, (), (0, 1), ())


def test_tau_counts_pairs_in_the_same_order():
    published = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    values = {name: {0: value, 1: value} for name, value in zip("abcd", (10.0, 30.0, 20.0, 40.0), strict=True)}
    tau, (low, high), p = rank(values, published)
    assert tau == pytest.approx(4 / 6)  # five pairs of six stand in the same order, one does not
    assert low < tau < high <= 1
    assert 0 < p < 1
    assert rank(values, {name: -value for name, value in published.items()})[0] == pytest.approx(-4 / 6)
    assert rank(values, published) == rank(values, published)


def test_many_taus_are_those_of_scipy():
    random = np.random.default_rng(0)
    ours, theirs = random.integers(0, 4, (2, 50, 5)).astype(float)
    ours[0] = 1.0
    with np.errstate(invalid="ignore"):
        want = [stats.kendalltau(a, b).statistic for a, b in zip(ours, theirs, strict=True)]
    np.testing.assert_allclose(_taus(ours, theirs), want)
    assert np.isnan(want[0])


def test_seeds_that_disagree_make_the_interval_wider():
    published = {name: float(place) for place, name in enumerate("abcdefgh")}
    steady = {name: {0: value, 1: value} for name, value in published.items()}
    unsteady = {name: {0: value - 5, 1: value + 5} for name, value in published.items()}
    assert rank(steady, published)[1] == (1, 1)
    assert rank(unsteady, published)[0] == pytest.approx(1)
    assert rank(unsteady, published)[1][0] < 0.5


def test_cards_are_the_one_truth_and_a_smaller_metric_may_be_the_better_one():
    assert cards_of(MODELS) == {"window": 81.2, "neighborhood": 83.2, "grid": 83.62, "query": 83.5}
    values = {"window": [50, 52], "neighborhood": [60, 61], "grid": [70, 72], "query": [64, 65], "other": [1, 2]}
    found = ranking_of(summary(values), MODELS)
    assert found.tau == pytest.approx(1)
    assert next(iter(found.entries.items())) == ("grid", (83.62, 71))
    assert ranking_of(summary(values, mode="min"), MODELS).tau == pytest.approx(-1)
    assert ranking_of(summary({"window": [50], "grid": [70]}), MODELS) is None


def test_it_is_told_and_written(tmp_path, capsys):
    values = {"window": [50, 52], "neighborhood": [60, 61], "grid": [70, 72], "query": [64, 65]}
    tell_ranking(summary(values), MODELS, tmp_path)
    told = capsys.readouterr().out
    assert "Kendall's tau 1.00" in told
    assert max(map(len, told.splitlines()[:-1])) <= 80
    written = json.loads((tmp_path / "ranking.json").read_text())
    assert (written["tau"], written["models"]["grid"]) == (1, "maxvit_tiny")
    tell_ranking(summary(values), {}, tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("published", "message"),
    [
        (["swin_tiny"], "published maps entries to backbones"),
        ({"grids": "swin_tiny"}, r"published.grids is no entry \(entries: window, grid\)"),
        ({"grid": "swim_tiny"}, "published.grid=swim_tiny is no backbone"),
        ({"grid": "swin_pico"}, "published.grid=swin_pico has no published accuracy"),
    ],
)
def test_models_that_tell_nothing_are_refused(published, message):
    with pytest.raises(ConfigError, match=message):
        check_published(published, ["window", "grid"])


def test_a_ranking_needs_three():
    with pytest.raises(ValueError, match="3 entries or more"):
        rank({"a": {0: 1.0}, "b": {0: 2.0}}, {"a": 1.0, "b": 2.0})
