"""Run as a script with TRITON_INTERPRET=1: checks ``token_attention`` on the CPU, prints JSON, case -> failures."""

import json
import sys

import torch

from visionattn.benchmarks.kernels.accuracy import Error
from visionattn.kernels import token_attention

# name: ((B, T, S, N, D, E), with bias, type, scale)
CASES = {
    "to few": ((2, 70, 9, 2, 16, 16), True, "float32", None),
    "from few": ((3, 5, 75, 1, 16, 24), True, "float32", None),
    "half": ((2, 33, 40, 1, 5, 16), True, "float16", 0.7),
    "no bias": ((1, 20, 37, 2, 16, 16), False, "float32", -0.5),
    "wide heads": ((1, 9, 17, 1, 72, 80), True, "float16", None),
}


def drawn(name):
    (batch, queries, keys, heads, depth, depth_v), biased, dtype, scale = CASES[name]
    sizes = (batch, queries, heads, depth), (batch, keys, heads, depth), (batch, keys, heads, depth_v)
    maps = [torch.randn(size).to(getattr(torch, dtype)) for size in sizes]
    maps[1] = maps[1].transpose(1, 2).contiguous().transpose(1, 2)  # strides of another order
    return maps, [torch.randn(heads, queries, keys)] if biased else [], scale


def results(maps, bias, scale, backend, dtype):
    leaves = [x.to(dtype).requires_grad_() for x in (*maps, *bias)]
    out = token_attention(*leaves[:3], bias=leaves[3] if bias else None, scale=scale, backend=backend)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), leaves)]


def check(name: str) -> list[str]:
    maps, bias, scale = drawn(name)
    dtype, failures = maps[0].dtype, []
    how = ("reference", torch.float64), ("reference", dtype), ("triton", dtype), ("triton", dtype)
    truth, plain, ours, again = (results(maps, bias, scale, *one) for one in how)
    for part, t, p, o in zip(("out", "q", "k", "v", "bias"), truth, plain, ours, strict=False):
        own, other = (float((x.double() - t).abs().max()) for x in (o, p))
        if not Error(own, other, float(t.abs().max()), torch.finfo(dtype).eps).is_fine:
            failures.append(f"{part}: {own} beside {other}")
    if not all(torch.equal(a, b) for a, b in zip(ours, again, strict=True)):
        failures.append("two runs differ")
    return failures


def others() -> dict[str, list[str]]:
    q, k = torch.zeros(0, 4, 1, 16), torch.zeros(0, 3, 1, 16)
    bias = torch.randn(1, 4, 3, requires_grad=True)
    out = token_attention(q, k, k, bias=bias, backend="triton")
    (gradient,) = torch.autograd.grad(out.sum(), bias)
    wide = torch.zeros(1, 2, 1, 144)
    said = token_attention.explain(wide, wide, wide)["triton"]
    return {
        "no image": [] if out.shape == q.shape and not gradient.any() else ["it has a gradient"],
        "refusals": [] if "at most 128 channels, and these have 144" in said else [said],
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    json.dump({name: check(name) for name in CASES} | others(), sys.stdout)
