"""The worst and the best samples of a validation: few of them, the same ones in any order, and drawn only then."""

import math
import pickle

import numpy as np
import pytest

from visionattn.reports import Sample
from visionattn.tasks.pictures import undrawn_explained
from visionattn.tasks.ranked import Ranked


def names(samples):
    return [sample.caption for sample in samples]


def offer(ranked, entries):
    drawn = []
    for name, score in entries:
        ranked.offer(score, name, lambda name=name: drawn.append(name) or Sample(np.zeros((1, 1, 3), np.uint8), name))
    return drawn


def test_any_order_and_any_number_of_processes_give_the_same_samples():
    scores = np.random.default_rng(0).integers(0, 40, 500) / 40  # many are equal
    entries = [(f"{i:03}", float(score)) for i, score in enumerate(scores)]
    expected = [name for name, _ in sorted(entries, key=lambda entry: (entry[1], entry[0]))[:5]]
    best = [name for name, _ in sorted(entries, key=lambda entry: (-entry[1], entry[0]))[:3]]
    for order in (entries, entries[::-1]):
        whole, shards = Ranked(5, 3), [Ranked(5, 3) for _ in range(3)]
        offer(whole, order)
        for index, shard in enumerate(shards):
            offer(shard, order[index::3])
        for ranked in (whole, Ranked.united(pickle.loads(pickle.dumps(shards)))):
            assert (names(ranked.worst), names(ranked.best)) == (expected, best)


def test_few_samples_of_many_are_drawn_and_kept():
    ranked = Ranked(12, 6)
    scores = np.random.default_rng(1).random(50_000).tolist()
    drawn = offer(ranked, [(str(i), score) for i, score in enumerate(scores)])
    assert len(drawn) < 250  # about (12 + 6) ln 50,000
    assert (len(ranked.worst), len(ranked.best)) == (12, 6)


def test_what_is_no_number_is_passed_over():
    ranked = Ranked()
    assert offer(ranked, [("a", math.nan)]) == []
    assert ranked.worst == ranked.best == []


def test_what_a_report_fails_at_is_told_once_and_ends_nothing(capsys):
    for _ in range(2):
        with undrawn_explained("report of a test"):
            raise ZeroDivisionError("by zero")
    assert capsys.readouterr().err == "no report of a test: ZeroDivisionError: by zero\n"
    with pytest.raises(KeyboardInterrupt), undrawn_explained("report of a test"):
        raise KeyboardInterrupt
