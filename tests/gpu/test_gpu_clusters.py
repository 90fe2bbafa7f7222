"""Content attention on a device: clusters of equal size, right values, equal bits, and the share of the clustering."""

import pytest
import torch

from visionattn.attention import ContentAttention
from visionattn.kernels.clusters import balanced_order, clustered_attention

CLUSTERS = {"cluster_size": 49, "overlap": 20}


def drawn(device, side=28, heads=3):
    return torch.randn(3, 2, side * side, heads, 32, device=device).unbind(0)


@pytest.mark.parametrize("tokens", [784, 225, 30])
def test_every_token_has_one_place(device, tokens):
    q = torch.randn(2, tokens, 3, 32, device=device)
    levels = max(tokens // 49, 1).bit_length() - 1
    order, again = balanced_order(q, levels), balanced_order(q, levels)
    assert torch.equal(order, again)
    assert torch.equal(order.sort(-1).values, torch.arange(tokens, device=device).expand_as(order))


@pytest.mark.parametrize("side", [14, 15, 5])
def test_the_values_are_those_of_the_cpu(device, side):
    """In float64: a near tie in float32 moves tokens to other clusters on two devices."""
    q, k, v = (x.double() for x in drawn(device, side))
    expected = clustered_attention(*(x.cpu() for x in (q, k, v)), **CLUSTERS)
    torch.testing.assert_close(clustered_attention(q, k, v, **CLUSTERS).cpu(), expected)


def test_two_trainings_give_equal_bits(device):
    torch.manual_seed(0)
    module = ContentAttention(96, 3).to(device)
    x = torch.randn(2, 15, 14, 96, device=device)
    first, again = (torch.autograd.grad(module(x).square().sum(), list(module.parameters())) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_mixer_compiles_as_one_graph(device, compiled):
    module = ContentAttention(96, 3).to(device).eval()
    x = torch.randn(2, 14, 14, 96, device=device)
    with torch.no_grad():
        torch.testing.assert_close(compiled(module)(x), module(x), rtol=1e-3, atol=1e-4)


def test_the_seconds_of_the_clustering(cuda, record_property):
    """The time of the order alone beside that of the whole, 56 x 56 tokens, 3 heads, 32 images in bfloat16."""
    q, k, v = (x.repeat(16, 1, 1, 1).bfloat16() for x in drawn(cuda, 56))
    found = {}
    for name, call in (
        ("order", lambda: balanced_order(q, 6)),
        ("whole", lambda: clustered_attention(q, k, v, **CLUSTERS)),
    ):
        for _ in range(3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            found[name] = begin.elapsed_time(end)
    record_property("milliseconds", found)
