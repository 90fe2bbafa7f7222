"""Run as a script with TRITON_INTERPRET=1: checks ``routed_attention``'s Triton kernels on the CPU, prints JSON.

With a number as argument: that many random shapes instead of a few. See ``triton_cases.py``.
"""

import json
import random
import sys
import warnings

import torch
from torch.library import opcheck

from visionattn.benchmarks.kernels.accuracy import Error
from visionattn.kernels import routed_attention
from visionattn.kernels.routed_op import grid_of


def drawn(seed: int):
    """q, k, v and the gradient of the output, routes with gaps and repetitions, the region."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    batch, heads, depth, values = rng.randint(1, 2), rng.randint(1, 2), rng.choice([5, 16, 24]), rng.choice([5, 16, 32])
    size, region = (rng.randint(1, 10), rng.randint(1, 9)), (rng.randint(1, 8), rng.randint(1, 8))
    rows, columns = grid_of(size, region)
    count = rows * columns
    shape = (batch, count, rng.randint(1, 3))
    routes = torch.randint(-1 if rng.random() < 0.5 else 0, count, shape, generator=generator)
    widths = depth, depth, values, values
    return [torch.randn((batch, *size, heads, w), generator=generator) for w in widths], routes, region


def results(maps, routes, region, backend, dtype=torch.float32):
    q, k, v, grad = (x.to(dtype).requires_grad_() for x in maps)
    out = routed_attention(q, k, v, routes, region=region, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, [q, k, v], grad)]


def failures_of(seed: int) -> list[str]:
    """Errors of more than twice those of plain code, and bits that do not repeat."""
    call, dtype = drawn(seed), torch.float16 if seed % 4 == 3 else torch.float32
    call = [x.to(dtype).float() for x in call[0]], *call[1:]
    truth, plain = results(*call, "reference", torch.float64), results(*call, "traceable", dtype)
    ours, again = results(*call, "triton", dtype), results(*call, "triton", dtype)
    found = ["other bits"] if any(not torch.equal(a, b) for a, b in zip(ours, again, strict=True)) else []
    shared = max(float(t.abs().max()) for t in truth[1:])  # with one key per query dq and dk vanish, roundings do not
    for name, t, p, o in zip(("out", "dq", "dk", "dv"), truth, plain, ours, strict=True):
        own, other = (float((x.double() - t).abs().max()) for x in (o, p))
        error = Error(own, other, float(t.abs().max()) if name == "out" else shared, torch.finfo(dtype).eps)
        found += [] if error.is_fine else [f"{name}: {error}"]
    return found


def registered() -> list[str]:
    from visionattn.kernels.backends.triton import routed_launch  # noqa: F401 - registers the ops

    (q, k, v, _), routes, region = drawn(4)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    with warnings.catch_warnings():  # opcheck itself reads the gradient of tensors that are no leaves
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        opcheck(torch.ops.visionattn.triton_routed.default, (*inputs, routes, *region, 0.3))
    qkv = torch.stack([q.detach()] * 3, 3).requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        opcheck(torch.ops.visionattn.triton_routed_packed.default, (qkv, routes, *region, 0.3))
    gradients = []
    for out in (
        routed_attention.packed(qkv, routes, region=region, backend="triton"),
        routed_attention(*qkv.unbind(3), routes, region=region, backend="triton"),
    ):
        gradients += torch.autograd.grad(out.square().sum(), qkv)
    if not torch.equal(*gradients):
        return ["the gradient of one tensor"]
    none = results([x.detach()[:0] for x in (q, k, v, v)], routes[:0], region, "triton")
    return [] if none[0].shape[0] == 0 else ["an empty batch"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    seeds = range(int(sys.argv[1])) if len(sys.argv) > 1 else range(4)
    print(json.dumps({f"seed {seed}": failures_of(seed) for seed in seeds} | {"registered": registered()}))
