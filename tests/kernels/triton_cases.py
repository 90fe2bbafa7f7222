"""Run as a script with TRITON_INTERPRET=1: checks the Triton kernels on the CPU, prints JSON, case -> failures.

With a number as argument: that many random shapes instead.

The interpreter must be switched on before Triton is imported, so `test_triton.py` runs this in a process of its own.
"""

import json
import random
import sys
import warnings
from dataclasses import replace

import torch
from torch.library import opcheck

from visionattn.benchmarks.kernels.accuracy import compare
from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.backends.triton import attend, attend_packed, problem
from visionattn.kernels.op import Call
from visionattn.kernels.signature import forget

WINDOW, NEIGHBORHOOD = window_attention, neighborhood_attention
# name: (op, (B, H, W, N, D, E), geometry, with bias, type)
ACCURACY = {
    "window": (WINDOW, (2, 8, 8, 2, 16, 16), {"window": 4}, True, "float32"),
    "window shifted, cut": (WINDOW, (1, 9, 11, 2, 16, 16), {"window": (4, 5), "shift": (1, 3)}, True, "float32"),
    "window of blocks": (WINDOW, (1, 10, 9, 1, 16, 16), {"window": (10, 9), "shift": (4, 0)}, True, "float32"),
    "grid": (WINDOW, (1, 9, 8, 1, 16, 16), {"window": (3, 4), "dilation": (3, 2)}, True, "float32"),
    "uneven grid": (WINDOW, (1, 7, 4, 1, 16, 16), {"window": 2, "dilation": (3, 1), "shift": (1, 0)}, True, "float32"),
    "strips": (WINDOW, (1, 6, 5, 1, 16, 16), {"window": (6, 2)}, False, "float32"),
    "window beyond the map": (WINDOW, (1, 3, 4, 1, 16, 16), {"window": 5, "shift": 2}, True, "float32"),
    "widths 24 and 40": (WINDOW, (1, 4, 4, 1, 24, 40), {"window": 4}, True, "float32"),
    "width 5": (WINDOW, (1, 4, 4, 1, 5, 5), {"window": 2}, True, "float32"),
    "neighborhood": (NEIGHBORHOOD, (1, 9, 10, 1, 16, 16), {"kernel_size": 3}, True, "float32"),
    "even kernel": (NEIGHBORHOOD, (1, 9, 10, 1, 16, 16), {"kernel_size": (4, 2)}, True, "float32"),
    "kernel is the map": (NEIGHBORHOOD, (1, 5, 6, 1, 16, 16), {"kernel_size": (5, 6)}, True, "float32"),
    "uneven dilation": (NEIGHBORHOOD, (2, 11, 8, 1, 16, 16), {"kernel_size": 3, "dilation": (3, 2)}, True, "float32"),
    "dilation at its limit": (
        NEIGHBORHOOD,
        (1, 9, 7, 1, 16, 16),
        {"kernel_size": 3, "dilation": (3, 2)},
        True,
        "float32",
    ),
    "groups like windows": (
        NEIGHBORHOOD,
        (1, 9, 6, 2, 16, 16),
        {"kernel_size": (3, 2), "dilation": 3},
        True,
        "float32",
    ),
    "stride": (NEIGHBORHOOD, (1, 10, 11, 1, 16, 24), {"kernel_size": (5, 4), "stride": (2, 3)}, True, "float32"),
    "stride is the kernel": (NEIGHBORHOOD, (1, 10, 7, 1, 16, 16), {"kernel_size": 3, "stride": 3}, True, "float32"),
    "many tiles": (NEIGHBORHOOD, (1, 3, 37, 1, 16, 16), {"kernel_size": (2, 3)}, True, "float32"),
    "many strided tiles": (
        NEIGHBORHOOD,
        (1, 2, 49, 1, 16, 16),
        {"kernel_size": (2, 5), "stride": (1, 3)},
        True,
        "float32",
    ),
    "stride beyond the tile": (
        NEIGHBORHOOD,
        (1, 2, 38, 1, 16, 16),
        {"kernel_size": (2, 18), "stride": (2, 17)},
        True,
        "float32",
    ),
    "windows of tiles": (WINDOW, (1, 2, 75, 1, 16, 16), {"window": (2, 36), "shift": (0, 10)}, True, "float32"),
    "cut windows of tiles": (WINDOW, (1, 13, 11, 1, 16, 16), {"window": (9, 10), "shift": (4, 7)}, False, "float32"),
    "no bias": (NEIGHBORHOOD, (1, 6, 6, 2, 16, 16), {"kernel_size": 3}, False, "float32"),
    "shifted, whole": (WINDOW, (2, 8, 4, 2, 16, 16), {"window": 4, "shift": (1, 2)}, True, "float32"),
    "half, shifted, whole": (WINDOW, (1, 8, 4, 1, 16, 16), {"window": 4, "shift": (3, 1)}, True, "float16"),
    "half, shifted, no bias": (WINDOW, (1, 5, 6, 1, 16, 24), {"window": 3, "shift": 1}, False, "float16"),
    "half, 98 points": (WINDOW, (1, 14, 9, 1, 16, 16), {"window": (14, 7)}, False, "float16"),
    "half window": (WINDOW, (1, 8, 7, 1, 32, 32), {"window": 4, "shift": 2}, True, "float16"),
    "half wide heads": (NEIGHBORHOOD, (1, 9, 17, 1, 72, 80), {"kernel_size": (4, 3)}, True, "float16"),
    "strips, decay": (WINDOW, (1, 1, 18, 2, 16, 16), {"window": (1, 18), "decay": True}, False, "float32"),
    "decay, cut": (WINDOW, (1, 3, 7, 1, 16, 24), {"window": (2, 5), "shift": (1, 2), "decay": True}, False, "float32"),
    "half, decay": (WINDOW, (1, 18, 1, 1, 16, 32), {"window": (18, 1), "decay": True}, False, "float16"),
    "decay of tiles": (WINDOW, (1, 1, 70, 1, 16, 16), {"window": (1, 70), "decay": True}, False, "float32"),
    "half neighborhood": (NEIGHBORHOOD, (1, 8, 9, 1, 32, 32), {"kernel_size": 5}, True, "float16"),
}


def make(op, shape, geometry, with_bias, dtype="float32") -> Call:
    """A call whose q, k and v are views of one packed tensor, as a qkv projection gives them."""
    batch, height, width, heads, depth, depth_v = shape
    packed = torch.randn(batch, height, width, heads, 2 * depth + depth_v).to(getattr(torch, dtype))
    q, k, v = packed.split((depth, depth, depth_v), -1)
    if geometry.get("decay"):
        geometry = {**geometry, "decay": torch.rand(batch, height, width, heads).cumsum(1).cumsum(2)}
    call = op.prepare(q, k, v, **geometry)
    return replace(call, bias=torch.randn(heads, *call.geometry.table_shape) if with_bias else None)


def accuracy(name: str) -> list[str]:
    errors = compare(make(*ACCURACY[name]), attend)
    return [f"{part}: {error}" for part, error in errors.items() if not error.is_fine]


def gradients(call: Call, *wanted: str) -> list[torch.Tensor]:
    leaves = {name: getattr(call, name).detach().clone() for name in ("q", "k", "v", "bias")}
    for name in wanted:
        leaves[name].requires_grad_()
    out = attend(*leaves.values(), call.geometry, call.scale)
    return list(torch.autograd.grad(out.square().sum(), [leaves[name] for name in wanted]))


def equal_bits_of_decay() -> list[str]:
    call, runs = make(*ACCURACY["strips, decay"]), []
    for _ in range(2):
        leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v)]
        out = attend(*leaves, None, call.geometry, call.scale)
        runs.append(torch.autograd.grad(out.square().sum(), leaves))
    return [f"gradient {i} differs" for i, (a, b) in enumerate(zip(*runs, strict=True)) if not torch.equal(a, b)]


def sample() -> list[Call]:
    return [
        make(WINDOW, (2, 4, 4, 1, 16, 16), {"window": 3, "shift": 1}, True),
        make(NEIGHBORHOOD, (2, 4, 6, 1, 16, 16), {"kernel_size": 2, "dilation": (1, 2)}, True),
    ]


def determinism() -> list[str]:
    failures = []
    for call in sample():
        first, second = (gradients(call, "q", "k", "v", "bias") for _ in range(2))
        pairs = zip(first, second, strict=True)
        failures += [f"gradient {i} differs" for i, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
    return failures


def chunked_table() -> list[str]:
    """The table's gradient does not depend on how often its sum is cut, beyond rounding."""
    failures, kept = [], problem.INTERPRETED_PROCESSORS
    for call in sample():
        few = gradients(call, "bias")[0]
        problem.INTERPRETED_PROCESSORS = 3
        forget()
        many = gradients(call, "bias")[0]
        problem.INTERPRETED_PROCESSORS = kept
        forget()
        if not torch.allclose(few, many, rtol=1e-4, atol=1e-4):
            failures.append(f"cut sums differ by {(few - many).abs().max()}")
    return failures


def some_gradients() -> list[str]:
    """Only the bias, or only a map, may need a gradient."""
    failures = []
    for call in sample():
        _, k, _, bias = gradients(call, "q", "k", "v", "bias")
        if not torch.equal(gradients(call, "bias")[0], bias):
            failures.append("bias alone differs")
        if not torch.equal(gradients(call, "k")[0], k):
            failures.append("k alone differs")
    return failures


def any_strides() -> list[str]:
    failures = []
    for call in sample():
        expected = attend(call.q, call.k, call.v, call.bias, call.geometry, call.scale)
        q, k = call.q.transpose(1, 4).contiguous().transpose(1, 4), call.k.transpose(1, 2).contiguous().transpose(1, 2)
        bias = call.bias.transpose(1, 2).contiguous().transpose(1, 2)
        found = attend(q, k, call.v[:1].expand_as(call.v), bias, call.geometry, call.scale)
        if not torch.equal(found[:1], expected[:1]):
            failures.append("strides change the result")
    return failures


def packed() -> list[str]:
    """One tensor in, one gradient out: the bits of three, also where only the table needs a gradient."""
    failures = []
    for call in sample():
        expected = gradients(call, "q", "k", "v", "bias")
        qkv, bias = torch.stack((call.q, call.k, call.v), 3).requires_grad_(), call.bias.clone().requires_grad_()
        out = attend_packed(qkv, bias, call.geometry, call.scale)
        gradient, table = torch.autograd.grad(out.square().sum(), (qkv, bias))
        pairs = zip(expected, (*gradient.unbind(3), table), strict=True)
        failures += [f"{call.geometry}, gradient {i}" for i, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
        out = attend_packed(qkv.detach(), bias, call.geometry, call.scale)
        if not torch.equal(torch.autograd.grad(out.square().sum(), bias)[0], table):
            failures.append("the table alone differs")
    return failures


def scales() -> list[str]:
    """Negative scales and none at all: the kernels take maxima of scores before they are scaled."""
    failures = []
    for call in sample():
        for scale in (-0.5, 0.0):
            errors = compare(replace(call, scale=scale), attend)
            failures += [f"{scale}, {part}: {error}" for part, error in errors.items() if not error.is_fine]
    return failures


def empty_batch() -> list[str]:
    failures = []
    for call in sample():
        none = replace(call, q=call.q[:0], k=call.k[:0], v=call.v[:0])
        q, bias = gradients(none, "q", "bias")
        if q.shape != none.q.shape or bias.shape != call.bias.shape or bias.any():
            failures.append(f"gradients of nothing: {q.shape}, {bias}")
    return failures


def registered() -> list[str]:
    for call in sample():
        leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v, call.bias)]
        with warnings.catch_warnings():  # opcheck itself reads the gradient of tensors that are no leaves
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
            encoded = call.geometry.rows.encode(), call.geometry.cols.encode(), call.scale
            opcheck(torch.ops.visionattn.triton.default, (*leaves, *encoded))
            qkv = torch.stack(leaves[:3], 3).detach().requires_grad_()
            opcheck(torch.ops.visionattn.triton_packed.default, (qkv, leaves[3], *encoded))
    return []


def compiled() -> list[str]:
    failures = []
    for op, geometry in ((WINDOW, {"window": 3}), (NEIGHBORHOOD, {"kernel_size": 3})):
        call = make(op, (1, 5, 5, 1, 16, 16), geometry, True)

        def step(q, k, v, bias, op=op, geometry=geometry):
            return op(q, k, v, bias=bias, backend="triton", **geometry).square().sum()

        leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v, call.bias)]
        expected = torch.autograd.grad(step(*leaves), leaves)
        found = torch.autograd.grad(torch.compile(step, backend="aot_eager", fullgraph=True)(*leaves), leaves)
        pairs = zip(expected, found, strict=True)
        failures += [f"{op.name} {i}" for i, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
    return failures


def refusals() -> list[str]:
    wide, narrow = torch.zeros(1, 4, 4, 1, 144), torch.zeros(1, 4, 4, 1, 16)
    expected = {"144": wide, "float64": narrow.double(), "bfloat16": narrow.bfloat16()}
    said = {word: WINDOW.explain(x, x, x, window=2)["triton"] for word, x in expected.items()}
    failures = [f"{word} not in {reason!r}" for word, reason in said.items() if word not in reason]
    accepted = WINDOW.explain(narrow, narrow, narrow, window=2)["triton"]
    both = {"bias": torch.zeros(1, 3, 3), "decay": narrow[..., 0]}
    if "a decay or a bias table" not in WINDOW.explain(narrow, narrow, narrow, window=2, **both)["triton"]:
        failures.append("a bias beside a decay is not refused")
    return failures + ([accepted] if accepted else [])


def draw(chance: random.Random):
    """A random small shape and legal arguments: partial tiles, kernels up to the map, dilation up to its limit."""
    height, width = chance.randint(2, 10), chance.randint(2, 10)
    depth, depth_v = chance.choice((8, 16, 24)), chance.choice((16, 20))
    shape = (chance.randint(1, 2), height, width, 1, depth, depth_v)
    if chance.random() < 0.5:
        window = chance.randint(1, 9), chance.randint(1, 9)
        shift = chance.randrange(window[0]), chance.randrange(window[1])
        return (
            WINDOW,
            shape,
            {"window": window, "shift": shift, "dilation": (chance.randint(1, 2), chance.randint(1, 3))},
        )
    size = tuple(chance.randint(2, min(side, 7)) for side in (height, width))
    dilation = tuple(chance.randint(1, side // k) for side, k in zip((height, width), size, strict=True))
    stride = tuple(chance.randint(1, k) for k in size)
    return NEIGHBORHOOD, shape, {"kernel_size": size, "dilation": dilation, "stride": stride}


def fuzz(count: int) -> dict[str, list[str]]:
    failures = {}
    for seed in range(count):
        chance = random.Random(seed)
        torch.manual_seed(seed)
        op, shape, geometry = draw(chance)
        errors = compare(make(op, shape, geometry, chance.random() < 0.7), attend)
        wrong = [f"{part}: {error}" for part, error in errors.items() if not error.is_fine]
        failures[f"seed {seed}: {op.name} {shape} {geometry}"] = wrong
    return failures


CHECKS = {
    "determinism": determinism,
    "equal bits of decay": equal_bits_of_decay,
    "chunked table": chunked_table,
    "some gradients": some_gradients,
    "any strides": any_strides,
    "packed": packed,
    "scales": scales,
    "empty batch": empty_batch,
    "registered": registered,
    "compiled": compiled,
    "refusals": refusals,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        results = fuzz(int(sys.argv[1]))
    else:
        results = {name: accuracy(name) for name in ACCURACY} | {name: check() for name, check in CHECKS.items()}
    json.dump(results, sys.stdout)
