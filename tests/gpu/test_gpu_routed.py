"""``routed_attention`` on a device: what ``auto`` takes is right and repeats its bits; its memory on a card."""

import pytest
import torch

from visionattn.kernels import routed_attention

CASES = {"56, 1 of 49": (56, 2, 1), "28, 4 of 49": (28, 4, 4), "14, 16 of 49": (14, 8, 16)}


def drawn(device, name):
    side, heads, listed = CASES[name]
    qkv = torch.randn(4, side, side, 3, heads, 32, device=device)
    routes = torch.rand(4, 49, 49, device=device).topk(listed).indices
    return qkv, routes, -(-side // 7)


def results(qkv, routes, region, backend, dtype):
    q, k, v = (x.detach().to(dtype).requires_grad_() for x in qkv.unbind(3))
    out = routed_attention(q, k, v, routes, region=region, backend=backend)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), (q, k, v))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_regions_are_right_and_repeat_their_bits(device, name, dtype):
    qkv, routes, region = drawn(device, name)
    qkv = qkv.to(dtype)
    truth, plain = (results(qkv, routes, region, "traceable", kind) for kind in (torch.float64, dtype))
    ours, again = (results(qkv, routes, region, "auto", dtype) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    for t, p, o in zip(truth, plain, ours, strict=True):
        allowed = 2 * float((p.double() - t).abs().max()) + 4 * torch.finfo(dtype).eps * float(t.abs().max())
        assert float((o.double() - t).abs().max()) <= allowed


def test_peak_memory_is_below_that_of_gathered_copies(cuda):
    qkv, routes, region = drawn(cuda, "14, 16 of 49")
    peaks = []
    for backend in ("auto", "traceable"):
        torch.cuda.reset_peak_memory_stats()
        results(qkv, routes, region, backend, torch.bfloat16)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[0] < peaks[1]
