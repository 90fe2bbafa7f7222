"""Panoptic quality: a plain count written from the paper, on any number of processes, and the rules one by one."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import distributed as dist

from tests.tasks.processes import on_processes
from visionattn.tasks.panoptic.metric import PanopticQuality, compare, figures, per_class

K = 6
THINGS = [True, True, True, False, False, False]


def blobs(random, size, count, labels):
    """A map of overlapping rectangles, numbered without gaps; some pixels stay empty."""
    ids = np.zeros(size, np.int64)
    for place in range(1, count + 1):
        top, left = random.randint(0, size[0] - 3), random.randint(0, size[1] - 3)
        ids[top : top + random.randint(3, 14), left : left + random.randint(3, 14)] = place
    present, ids = np.unique(np.concatenate([[0], ids.ravel()]), return_inverse=True)
    return ids[1:].reshape(size), random.choice(labels, len(present) - 1)


def picture(seed):
    """(predicted, true): the prediction is the truth with a shift, some other labels, and segments of its own."""
    random = np.random.RandomState(seed)
    size = (random.randint(18, 30), random.randint(18, 30))
    true, labels = blobs(random, size, random.randint(0, 9), [0, 1, 3, 4])
    crowd = random.uniform(size=len(labels)) < 0.25
    said = np.roll(true, random.randint(0, 3), axis=1)
    own, own_labels = blobs(random, size, 3, [0, 1, 2, 3])
    said[own > 0] = own[own > 0] + len(labels)
    said_labels = np.concatenate([labels, own_labels])
    said_labels[random.uniform(size=len(said_labels)) < 0.1] = 2
    present = np.unique(said[said > 0])
    table = np.zeros(len(said_labels) + 1, np.int64)
    table[present] = np.arange(1, len(present) + 1)
    return (table[said], said_labels[present - 1]), (true, labels, crowd)


def plain_quality(pairs):
    """From the paper, pixel sets and loops: (iou, tp, fp, fn) per class."""
    counts = np.zeros((4, K))
    for (said, said_labels), (true, labels, crowd) in pairs:
        void = true == 0
        crowds = {}
        for place, label in enumerate(labels, 1):
            if crowd[place - 1]:
                crowds[label] = crowds.get(label, np.zeros(true.shape, bool)) | (true == place)
        used, hit = set(), set()
        for i, label in enumerate(labels, 1):
            for j, other in enumerate(said_labels, 1):
                if crowd[i - 1] or label != other:
                    continue
                a, b = true == i, said == j
                iou = (a & b).sum() / (a | (b & ~void)).sum()
                if iou > 0.5:
                    assert i not in used
                    assert j not in hit
                    used.add(i)
                    hit.add(j)
                    counts[:2, label] += iou, 1
        for i, label in enumerate(labels, 1):
            counts[3, label] += i not in used and not crowd[i - 1]
        for j, label in enumerate(said_labels, 1):
            b = said == j
            ignored = (b & (void | crowds.get(label, False))).sum()
            counts[2, label] += j not in hit and not ignored > b.sum() / 2
    return counts


def update(metric, pairs):
    said = [SimpleNamespace(ids=torch.tensor(a[0]), labels=torch.tensor(a[1])) for a, _ in pairs]
    true = [{"ids": torch.tensor(b[0]), "labels": torch.tensor(b[1]), "crowd": torch.tensor(b[2])} for _, b in pairs]
    metric.update(said, true)


def quality(pairs):
    metric = PanopticQuality(K)
    metric.things = THINGS
    update(metric, pairs)
    return metric, {name: float(value) for name, value in metric.compute().items()}


PAIRS = [picture(seed) for seed in range(41)]


def test_it_is_the_plain_count():
    metric, shown = quality(PAIRS)
    iou, hits, wrong, missed = expected = plain_quality(PAIRS)
    assert (metric.latest[1:].numpy() == expected[1:]).all()
    assert (expected[1:].sum(1) > 20).all()
    np.testing.assert_allclose(metric.latest[0].numpy() / 2**40, iou, rtol=1e-11)
    seen = hits + wrong + missed > 0
    assert seen.tolist() == [True, True, True, True, True, False]
    with np.errstate(invalid="ignore"):
        pq, sq = iou / (hits + wrong / 2 + missed / 2), np.where(hits > 0, iou / hits, 0)
        rq = hits / (hits + wrong / 2 + missed / 2)
    things = np.array(THINGS)
    for name, values in (("PQ", pq), ("SQ", sq), ("RQ", rq)):
        for suffix, group in (("", seen), ("_th", seen & things), ("_st", seen & ~things)):
            assert shown[name + suffix] == pytest.approx(100 * values[group].mean(), rel=1e-6), name + suffix
            assert figures(metric.latest, THINGS)[name + suffix] == pytest.approx(100 * values[group].mean(), rel=1e-11)
    np.testing.assert_allclose(per_class(metric.latest)[0][torch.tensor(seen)].numpy(), 100 * pq[seen], rtol=1e-11)


def test_a_perfect_prediction_scores_100():
    perfect = []
    for _, (true, labels, crowd) in PAIRS:
        said = np.where(true > 0, true, 0)
        perfect.append(((said, labels), (true, labels, crowd)))
    _, shown = quality(perfect)
    assert shown == dict.fromkeys([q + g for q in ("PQ", "SQ", "RQ") for g in ("", "_th", "_st")], 100.0)


def test_shifted_labels_score_nothing():
    shifted = [((true, (labels + 1) % K), (true, labels, crowd)) for _, (true, labels, crowd) in PAIRS]
    assert quality(shifted)[1]["PQ"] == 0


def counts(said, said_labels, true, labels, crowd=None):
    crowd = [False] * len(labels) if crowd is None else crowd
    as_tensors = [torch.tensor(one, dtype=torch.int64) for one in (said, said_labels, true, labels)]
    found = compare(*as_tensors, torch.tensor(crowd, dtype=torch.bool), 3)
    return (found[0] / 2**40).tolist(), found[1:].tolist()


def test_a_half_is_no_match_and_empty_truth_does_not_count_in_the_union():
    assert counts([[1, 1, 0, 0]], [0], [[1, 0, 0, 0]], [0])[1] == [[1, 0, 0], [0] * 3, [0] * 3]  # the rest is void
    assert counts([[1, 1, 0, 0]], [0], [[1, 2, 0, 0]], [0, 1])[1] == [[0] * 3, [1, 0, 0], [1, 1, 0]]  # a half
    iou, _ = counts([[1, 1, 1, 0]], [0], [[1, 1, 2, 0]], [0, 1])
    assert iou == [pytest.approx(2 / 3), 0, 0]


def test_predictions_in_void_and_in_crowds_of_their_class_are_no_mistakes():
    assert counts([[1, 1, 1, 0]], [0], [[0, 0, 1, 1]], [1])[1] == [[0] * 3, [0] * 3, [0, 1, 0]]  # two thirds void
    assert counts([[1, 1, 0, 0]], [0], [[0, 1, 1, 1]], [1])[1] == [[0] * 3, [1, 0, 0], [0, 1, 0]]  # a half is not more
    crowd = counts([[1, 1, 1, 0]], [0], [[1, 1, 2, 2]], [0, 1], [True, False])
    assert crowd[1] == [[0] * 3, [0] * 3, [0, 1, 0]]
    other = counts([[1, 1, 1, 0]], [2], [[1, 1, 2, 2]], [0, 1], [True, False])
    assert other[1] == [[0] * 3, [0, 0, 1], [0, 1, 0]]
    several = counts([[1, 1, 1, 1]], [0], [[1, 2, 3, 3]], [0, 0, 1], [True, True, False])
    assert several[1] == [[0] * 3, [1, 0, 0], [0, 1, 0]]
    several = counts([[1, 1, 1, 0]], [0], [[1, 2, 3, 3]], [0, 0, 1], [True, True, False])
    assert several[1] == [[0] * 3, [0] * 3, [0, 1, 0]]  # two crowds together


def test_nothing_said_and_nothing_there():
    assert counts([[0, 0]], [], [[1, 2]], [0, 1])[1] == [[0] * 3, [0] * 3, [1, 1, 0]]
    assert counts([[1, 2]], [0, 1], [[0, 0]], [])[1] == [[0] * 3] * 3  # all of it in void
    metric, shown = quality([])
    assert set(shown.values()) == {-1.0}
    assert metric.latest.sum() == 0


def _work(rank, path):
    """Three processes, then two of them, then one."""
    torch.set_num_threads(1)
    for world in (3, 2, 1):
        if rank < world:
            dist.init_process_group("gloo", init_method=f"file://{path}/meet{world}", rank=rank, world_size=world)
            metric, shown = quality(PAIRS[rank::world])
            with open(f"{path}/{world}_{rank}.json", "w") as file:
                json.dump([shown, metric.latest.tolist()], file)
            dist.destroy_process_group()


def test_one_two_and_three_processes_give_the_same_to_the_last_digit(tmp_path):
    on_processes(_work, 3, str(tmp_path))
    reports = [json.loads((tmp_path / f"{w}_{r}.json").read_text()) for w in (1, 2, 3) for r in range(w)]
    assert all(report == reports[0] for report in reports)
    assert reports[0][1] == quality(PAIRS)[0].latest.tolist()
