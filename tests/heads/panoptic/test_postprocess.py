"""From queries to maps and instances: the published steps in plain loops, and where a picture lies in its batch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from visionattn.heads.panoptic.postprocess import Frame, instances, panoptic_map

THINGS = [True, True, False, False]
FRAME = Frame((32, 48), (26, 40), (39, 60))


def logits(seed, queries=12):
    """Sure and unsure queries with blobs for masks; several of the same stuff."""
    generator = torch.Generator().manual_seed(seed)
    classes = 4 * torch.randn(queries, 5, generator=generator)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    center = torch.rand(queries, 2, generator=generator) * torch.tensor([8, 12])
    size = 1 + 3 * torch.rand(queries, generator=generator)
    distance = torch.hypot(y - center[:, 0, None, None], x - center[:, 1, None, None])
    return classes, 6 * (size[:, None, None] - distance)


def enlarged(masks):
    large = F.interpolate(masks[None], size=FRAME.padded, mode="bilinear", align_corners=False)
    return F.interpolate(large[..., :26, :40], size=FRAME.original, mode="bilinear", align_corners=False)[0]


def published(classes, masks, score, overlap):
    """The steps as they are published, mask after mask, on all queries enlarged."""
    probabilities, sigmoid = classes.softmax(-1).numpy(), enlarged(masks).sigmoid().numpy()
    best, label = probabilities.max(-1), probabilities.argmax(-1)
    chosen = [q for q in range(len(best)) if label[q] < 4 and best[q] > score]
    ids, found, stuff = np.zeros(FRAME.original, int), [], {}
    if not chosen:
        return ids, found
    winner = np.argmax(np.stack([best[q] * sigmoid[q] for q in chosen]), 0)
    for k, q in enumerate(chosen):
        own, whole = winner == k, sigmoid[q] >= 0.5
        mask = own & whole
        if not mask.any() or own.sum() / whole.sum() < overlap:
            continue
        if label[q] in stuff:
            ids[mask] = stuff[label[q]]
            continue
        found.append(int(label[q]))
        ids[mask] = len(found)
        if not THINGS[label[q]]:
            stuff[label[q]] = len(found)
    return ids, found


def test_maps_are_those_of_the_published_steps():
    merged = dropped = 0
    for seed in range(30):
        classes, masks = logits(seed)
        expected, labels = published(classes, masks, 0.6, 0.5)
        found = panoptic_map(classes, masks, FRAME, THINGS, 0.6, 0.5)
        assert found.labels.tolist() == labels, seed
        assert (found.ids.numpy() == expected).all(), seed
        chances, best = classes.softmax(-1).max(-1)
        sure = ((best < 4) & (chances > 0.6)).sum()
        merged += int(sure) > len(labels) and len({q for q in labels if q >= 2}) > 0
        dropped += 0 in expected
        assert sorted(set(found.ids.unique().tolist()) - {0}) == list(range(1, len(labels) + 1))
        assert all(0.6 < one <= 1 for one in found.scores.tolist())
    assert merged
    assert dropped


def test_no_sure_query_gives_an_empty_map():
    found = panoptic_map(torch.zeros(5, 5), torch.randn(5, 8, 12), FRAME, THINGS)
    assert found.ids.shape == FRAME.original
    assert found.ids.sum() == len(found.labels) == 0


def test_a_frame_leaves_the_padding_out():
    masks = torch.full((1, 8, 12), -5.0)
    masks[:, :, 10:] = 5.0  # in the padding alone
    assert FRAME(masks).shape == (1, 39, 60)
    assert (FRAME(masks)[..., :-4] < 0).all()


def test_instances_are_the_likeliest_pairs_of_things():
    for seed in range(10):
        classes, masks = logits(seed)
        found = instances(classes, masks, FRAME, THINGS, most=15)
        chances, full = classes.softmax(-1)[:, :4], enlarged(masks)
        order = torch.argsort(chances.reshape(-1), descending=True)[:15].tolist()
        expected = []
        for place in order:
            query, label = divmod(place, 4)
            inside = full[query] > 0
            if not THINGS[label] or not inside.any():
                continue
            mean = full[query].sigmoid()[inside].mean()
            expected.append((float(chances[query, label] * mean), label, inside))
        expected.sort(key=lambda one: -one[0])
        assert found.scores.tolist() == pytest.approx([one[0] for one in expected], rel=1e-5)
        assert found.labels.tolist() == [one[1] for one in expected]
        for mask, box, one in zip(found.masks, found.boxes, expected, strict=True):
            assert torch.equal(mask, one[2])
            rows, columns = torch.nonzero(mask, as_tuple=True)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == [float(one) for one in corners]


def test_no_instance_at_all():
    nothing = torch.full((3, 8, 12), -9.0)
    assert len(instances(torch.zeros(3, 5), nothing, FRAME, THINGS).labels) == 0
    stuff_only = torch.tensor([[-9.0, -9, 9, 9, 0]]).repeat(3, 1)
    found = instances(stuff_only, -nothing, FRAME, THINGS, most=2)
    assert found.masks.shape == (0, *FRAME.original)
