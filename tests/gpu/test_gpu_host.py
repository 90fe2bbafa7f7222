"""The host's time for an eager call beside that of torch's own attention: small maps cost what their calls cost."""

import time

import torch
from torch.nn import functional as F

from visionattn.kernels import window_attention


def milliseconds(run, calls=50, rounds=7):
    """Of the fastest round; the device has next to nothing to do."""
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        found.append((time.perf_counter() - begin) / calls * 1e3)
    return min(found)


def test_an_eager_call_costs_the_host_at_most_twice_sdpas(cuda, record_property):
    """Forward, and forward and backward, of 32 windows of 7 x 7 with a trained bias; SDPA without one."""
    qkv = torch.randn(2, 28, 28, 3, 2, 32, device=cuda, dtype=torch.bfloat16, requires_grad=True)
    bias = torch.randn(2, 13, 13, device=cuda, requires_grad=True)
    split = torch.randn(3, 32, 2, 49, 32, device=cuda, dtype=torch.bfloat16, requires_grad=True)

    def ours():
        return window_attention(*qkv.unbind(3), bias=bias, window=7, shift=3)

    def sdpa():
        return F.scaled_dot_product_attention(*split.unbind(0))

    def both(run):
        out = run()
        out.backward(out.detach())

    found = {}
    for name, run in {"ours": ours, "sdpa": sdpa}.items():
        with torch.no_grad():
            run()
            found[f"{name} forward"] = milliseconds(run)
        both(run)
        found[f"{name} forward+backward"] = milliseconds(lambda run=run: both(run))
    for name, value in found.items():
        record_property(f"{name}, host ms", round(value, 4))
    for name in ("forward", "forward+backward"):
        assert found[f"ours {name}"] <= 2 * found[f"sdpa {name}"], found
