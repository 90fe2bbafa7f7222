"""Balanced clusters: their sizes, what decides them, degenerate tokens, and the attention inside them."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.shapes import checked_shapes  # noqa: F401
from visionattn.attention import ContentAttention
from visionattn.kernels.clusters import Runs, balanced_order, clustered_attention, inverse_order

CLUSTERS = {"cluster_size": 4, "overlap": 2}


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("tokens", "count"), [(12, 4), (13, 4), (15, 4), (4, 4), (7, 1), (9, 8)])
def test_runs_differ_by_one_token_and_nothing_is_lost(tokens, count):
    runs, x = Runs(tokens, count), torch.arange(tokens)[None]
    bounds = [*runs.starts(x.device).tolist(), tokens]
    assert {after - before for before, after in pairwise(bounds)} <= {tokens // count, -(-tokens // count)}
    apart = runs.apart(x)[0]
    for row, start in zip(apart.tolist(), bounds, strict=False):
        assert row == list(range(start, start + runs.longest))
    assert torch.equal(runs.joined(runs.apart(x)), x)


def groups_of(order: Tensor, levels: int) -> list[set[int]]:
    """The clusters of the first image and head."""
    tokens = order.shape[-1]
    bounds = [g * tokens // 2**levels for g in range(2**levels + 1)]
    return [set(order[0, 0, a:b].tolist()) for a, b in pairwise(bounds)]


@pytest.mark.parametrize("tokens", [16, 17, 19, 23])
def test_tokens_of_one_direction_stand_together(tokens):
    """Two kinds of tokens, in turn on the map, with a little noise."""
    kinds = torch.arange(tokens) % 2
    q = torch.eye(2, dtype=torch.float64)[kinds].repeat(1, 2) + 0.05 * drawn(tokens, 4)
    first, second = groups_of(balanced_order(q[None, :, None], 1), 1)
    assert min(len({int(kinds[i]) for i in group}) for group in (first, second)) == 1


@pytest.mark.parametrize("tokens", [8, 13, 50])
@pytest.mark.parametrize("kind", ["equal", "zero", "opposite", "one apart", "not a number", "infinite"])
def test_degenerate_tokens_still_give_clusters_of_equal_size(kind, tokens):
    """A centroid without tokens, tokens opposite to one, and tokens without a direction: no cluster is ever empty."""
    q = torch.ones(2, tokens, 3, 4)
    if kind == "zero":
        q.zero_()
    elif kind == "opposite":
        q[:, tokens // 2 :] *= -1
    elif kind == "one apart":
        q[:, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    elif kind == "not a number":
        q[:, 1] = torch.nan
    elif kind == "infinite":
        q[:, 1] = torch.inf
    order = balanced_order(q, 2)
    assert torch.equal(order.sort(-1).values, torch.arange(tokens).expand(2, 3, tokens))
    assert torch.equal(order.gather(2, inverse_order(order)), torch.arange(tokens).expand(2, 3, tokens))
    if kind in ("equal", "zero"):
        assert torch.equal(order, torch.arange(tokens).expand(2, 3, tokens)), "ties keep their order"
    out = clustered_attention(q, q, torch.randn_like(q), **CLUSTERS)
    assert torch.isfinite(out).all() or kind in ("not a number", "infinite")


def written_out(q: Tensor, k: Tensor, v: Tensor, cluster_size: int, overlap: int, scale: float) -> Tensor:
    """Each query, and the keys that it sees, one after the other."""
    batch, tokens, heads, _ = q.shape
    levels = 0
    while tokens >= cluster_size * 2 ** (levels + 1):
        levels += 1
    order, out = balanced_order(q, levels), torch.empty_like(v)
    pairs = 2 ** max(levels - 1, 0)
    longest = -(-tokens // pairs)
    half = -(-longest // 2)
    for b, n in [(b, n) for b in range(batch) for n in range(heads)]:
        for place in range(tokens):
            pair = max(p for p in range(pairs) if p * tokens // pairs <= place)
            start = pair * tokens // pairs
            first = start if place - start < half else start + longest - min(half + overlap, longest)
            seen = range(start, start + longest) if not levels else range(first, first + min(half + overlap, longest))
            places = order[b, n, list(seen)]
            own = order[b, n, place]
            weights = (scale * k[b, places, n] @ q[b, own, n]).softmax(0)
            out[b, own, n] = weights @ v[b, places, n]
    return out


@pytest.mark.parametrize("tokens", [1, 3, 7, 8, 9, 15, 16, 32, 37])
def test_attention_is_the_one_written_out(tokens):
    q, k, v = drawn(3, 2, tokens, 2, 3).requires_grad_().unbind(0)
    got = clustered_attention(q, k, v, **CLUSTERS, scale=0.7)
    torch.testing.assert_close(got, written_out(q, k, v, 4, 2, 0.7))


@pytest.mark.parametrize("tokens", [5, 16, 19])
def test_gradients(tokens):
    q, k, v = (x.clone().requires_grad_() for x in drawn(3, 1, tokens, 2, 3).unbind(0))
    assert torch.autograd.gradcheck(lambda *x: clustered_attention(*x, **CLUSTERS), (q, k, v), fast_mode=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck looks at its own tensors
@pytest.mark.parametrize("tokens", [16, 19])
def test_the_operator_of_compiled_graphs(tokens):
    op = torch.ops.visionattn.clustered_attention.default
    q, k, v = (x.clone().requires_grad_() for x in drawn(3, 2, tokens, 2, 3).unbind(0))
    torch.library.opcheck(op, (q, k, v, 4, 2, 0.7, "auto"))
    grad = drawn(2, tokens, 2, 3)
    want = torch.autograd.grad(clustered_attention(q, k, v, **CLUSTERS, scale=0.7), (q, k, v), grad)
    got = torch.autograd.grad(op(q, k, v, 4, 2, 0.7, "auto"), (q, k, v), grad)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_bfloat16_is_ordered_in_float32():
    q = torch.randn(1, 30, 2, 8).bfloat16()
    assert torch.equal(balanced_order(q, 2), balanced_order(q.float(), 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(balanced_order(q, 2), balanced_order(q.float(), 2))


def test_clusters_are_never_more_than_tokens():
    q = drawn(1, 5, 2, 4)
    with pytest.raises(ValueError, match=r"8 clusters \(3 levels\) are more than the 5 tokens: some would be empty"):
        balanced_order(q, 3)
    assert balanced_order(q[:, :4], 2).shape == (1, 2, 4)  # one token each
    mixer = ContentAttention(8, 2)  # clusters of 49: such maps are one cluster
    for size in ((1, 1), (2, 3), (7, 7)):
        x = torch.randn(2, *size, 8)
        q, k, v = (part.transpose(1, 2) for part in mixer.qkv(x).flatten(1, 2).unflatten(-1, (3, 2, 4)).unbind(2))
        whole = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        torch.testing.assert_close(mixer.attend(mixer.qkv(x).unflatten(-1, (3, 2, 4))), whole.unflatten(1, size))
