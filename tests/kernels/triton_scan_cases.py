"""Run as a script with TRITON_INTERPRET=1: checks the scan's Triton kernels on the CPU, prints JSON, case -> failures.

The arguments name the checks. The interpreter combines the elements of an associative scan one by one in
Python, so the tiles here are tiny.
"""

import json
import sys
import warnings

import torch
from torch import Tensor
from torch.library import opcheck

from visionattn.kernels import selective_scan
from visionattn.kernels.backends.triton import scan_launch

NAMES = ("output", "x", "delta", "a", "b", "c")


def tensors(seed: int, size: tuple[int, ...], ways: int, states: int, dtype: torch.dtype) -> list[Tensor]:
    generator, channels = torch.Generator().manual_seed(seed), size[3]
    shapes = [size, (*size[:3], ways, channels), (ways, channels, states), *[(*size[:3], ways, states)] * 2, size]
    x, delta, a, b, c, grad = (torch.randn(shape, generator=generator) for shape in shapes)
    if seed % 2:
        x, delta = x.transpose(1, 2).contiguous().transpose(1, 2), delta.transpose(0, 3).contiguous().transpose(0, 3)
    return [x.to(dtype), delta.to(dtype), -a.exp(), b.to(dtype), c.to(dtype), grad.to(dtype)]


def results(given: list[Tensor], backend: str) -> list[Tensor]:
    *inputs, grad = (t.detach().requires_grad_() for t in given)
    out = selective_scan(*inputs, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.detach())]


CASES = [(0, (1, 2, 3, 3), 4, 1), (1, (2, 1, 3, 1), 2, 3), (2, (1, 5, 1, 1), 3, 2), (3, (1, 3, 2, 2), 2, 1)]


def differences(dtype: torch.dtype, tolerance: float, count: int) -> list[str]:
    failures = []
    for seed, size, ways, states in CASES[:count]:
        given = tensors(seed, size, ways, states, dtype)
        truth, ours = results([t.double() for t in given], "reference"), results(given, "triton")
        for name, t, o in zip(NAMES, truth, ours, strict=True):
            error = float((o.double() - t).abs().max() / t.abs().max())
            failures += [f"{size}, {name}: {error}"] if not error < tolerance else []
    return failures


def repeats() -> list[str]:
    given = tensors(*CASES[0], torch.float32)
    pairs = zip(NAMES, results(given, "triton"), results(given, "triton"), strict=True)
    return [f"{name} differs" for name, a, b in pairs if not torch.equal(a, b)]


def registered() -> list[str]:
    x, delta, a, b, c, _ = (t.requires_grad_() for t in tensors(0, (1, 2, 2, 2), 1, 1, torch.float32))
    with warnings.catch_warnings():  # opcheck itself reads the gradient of tensors that are no leaves
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        opcheck(torch.ops.visionattn.triton_scan.default, (x, delta, b, c, a))
    return []


def empty() -> list[str]:
    out, *gradients = results(tensors(0, (0, 3, 4, 3), 4, 1, torch.float32), "triton")
    return [] if out.shape == (0, 3, 4, 3) and not gradients[2].any() else [f"{out.shape}, {gradients[2]}"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    scan_launch.TOKENS, scan_launch.COLUMNS = 2, 2
    checks = {
        "right": lambda: differences(torch.float32, 1e-5, 1),
        "all right": lambda: differences(torch.float32, 1e-5, len(CASES)),
        "half": lambda: differences(torch.float16, 2e-3, 1),
        "repeats": repeats,
        "registered": registered,
        "empty": empty,
    }
    print(json.dumps({name: check() for name, check in checks.items() if name in sys.argv}))
