"""Run as a script with TRITON_INTERPRET=1: checks the walking backward on the CPU, prints JSON, case -> failures."""

import json
import sys
from dataclasses import replace

import torch

from visionattn.kernels import neighborhood_attention
from visionattn.kernels.backends import reference
from visionattn.kernels.backends.triton import launch, problem
from visionattn.kernels.backends.triton.walk_plan import Walk, walk_tile, walks
from visionattn.kernels.custom_op import signed
from visionattn.kernels.signature import Layout, Wanted

# name: ((B, H, W, N, D, E), geometry, with bias, type, scale)
CASES = {
    "neighborhood": ((1, 13, 12, 2, 16, 16), {"kernel_size": 5}, True, "float32", None),
    "half": ((2, 9, 10, 1, 16, 24), {"kernel_size": (5, 3)}, True, "float16", None),
    "no bias": ((1, 9, 8, 1, 16, 16), {"kernel_size": 3}, False, "float32", -0.5),
    "uneven dilation": ((2, 11, 9, 1, 16, 16), {"kernel_size": (3, 4), "dilation": (3, 2)}, True, "float32", 0.0),
    "strided": ((1, 10, 11, 1, 16, 16), {"kernel_size": (5, 4), "stride": (2, 3)}, True, "float32", 0.3),
}


def made(name):
    (batch, height, width, heads, depth, depth_v), geometry, biased, dtype, scale = CASES[name]
    packed = torch.randn(batch, height, width, heads, 2 * depth + depth_v).to(getattr(torch, dtype))
    q, k, v = packed.split((depth, depth, depth_v), -1)
    call = neighborhood_attention.prepare(q, k, v, **geometry)
    bias = torch.randn(heads, *call.geometry.table_shape) if biased else None
    return replace(call, bias=bias, scale=call.scale if scale is None else scale)


def truth(call, grad, dtype):
    leaves = [t.to(dtype).requires_grad_() for t in (call.q, call.k, call.v, call.bias) if t is not None]
    out = reference.attend(*leaves[:3], leaves[3] if len(leaves) > 3 else None, call.geometry, call.scale)
    return torch.autograd.grad(out, leaves, grad.to(dtype))


def check(name: str) -> list[str]:
    """Gradients of walks over queries, over keys and over both, beside those in float64, as often as equal bits."""
    call = made(name)
    signature = signed(call.q, call.k, call.v, call.bias, call.geometry, call.scale)
    maps = call.q, call.k, call.v
    y, x = problem.axis(call.q.shape[1], call.geometry.rows), problem.axis(call.q.shape[2], call.geometry.cols)
    base = problem.problem(signature).plan
    out, lse = launch.forward(signature)(*maps, call.bias)
    grad = torch.randn_like(out)
    exact, plain = truth(call, grad, torch.float64), truth(call, grad, call.q.dtype)
    queries, keys = (Walk(walk_tile(y, x, 16, 128, by_keys), 16, 128, 4, 1, 8) for by_keys in (False, True))
    failures = [] if walks(y, x, False) and walks(y, x, True) else ["no walk is a candidate"]
    runs = []
    for plan in (replace(base, query_walk=queries, key_walk=keys), replace(base, query_walk=queries), None):
        plan = plan or replace(base, query_walk=queries, key_walk=keys)
        into = tuple(torch.full_like(x, float("nan"), memory_format=torch.contiguous_format) for x in maps)
        wanted = Wanted(tuple(Layout.of(x) for x in into), maps=True, table=call.bias is not None)
        table = launch.backward(signature, wanted, plan)(grad, *maps, call.bias, out, lse, into)
        runs.append([*into, *([table] if call.bias is not None else [])])
        for part, found, true, other in zip("qkvb", runs[-1], exact, plain, strict=False):
            error, allowed = float((found - true).abs().max()), 2 * float((other - true).abs().max())
            if not error <= allowed + 8 * torch.finfo(call.q.dtype).eps * float(true.abs().max().clamp_min(1)):
                failures.append(f"{part} of {plan}: {error}")
    if not all(torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True)):
        failures.append("two runs differ")
    return failures


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    json.dump({name: check(name) for name in CASES}, sys.stdout)
