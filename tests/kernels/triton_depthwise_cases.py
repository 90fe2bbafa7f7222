"""Run as a script with TRITON_INTERPRET=1: checks the kernels of depthwise convolutions on the CPU.

Prints JSON, case -> failures. The arguments name the checks.
"""

import json
import sys
import warnings

import torch
from torch import Tensor, nn
from torch.library import opcheck
from torch.nn import functional as F

from visionattn.kernels.backends.triton import depthwise_launch
from visionattn.kernels.depthwise import depthwise, on_map

NAMES = ("output", "x", "weight", "bias")
SAME, STRIDED = (2, 7, 10, 5), (2, 9, 6, 33)


def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    channels = shape[3]
    x, weight, bias = (torch.randn(s, generator=generator) for s in (shape, (channels, 1, 3, 3), channels))
    return [x.to(dtype), weight, bias]


def truth(x: Tensor, weight: Tensor, bias: Tensor, stride: int, add: bool) -> Tensor:
    front = [side % 2 if stride == 2 else 1 for side in x.shape[1:3]]
    padded = F.pad(x.permute(0, 3, 1, 2), (front[1], 1, front[0], 1))
    y = F.conv2d(padded, weight, bias, stride=stride, groups=x.shape[3]).permute(0, 2, 3, 1)
    return x + y if add else y


def ours(x: Tensor, weight: Tensor, bias: Tensor, stride: int, add: bool) -> Tensor:
    if stride == 1:
        layer = nn.Conv2d(x.shape[3], x.shape[3], 3, padding=1, groups=x.shape[3])
        del layer.weight, layer.bias
        layer.weight, layer.bias = weight, bias
        return on_map(layer, x, add=add)
    rows, columns = x.shape[1:3]
    size = (rows + 1) // 2, (columns + 1) // 2
    y = depthwise(unreached, x.permute(0, 3, 1, 2), weight, bias, (rows % 2, columns % 2), size, 2)
    return y.permute(0, 2, 3, 1)


def unreached(*tensors: Tensor) -> Tensor:
    raise AssertionError("torch's convolution was taken")


def results(function, tensors: list[Tensor], stride: int, add: bool) -> list[Tensor]:
    inputs = [t.detach().requires_grad_() for t in tensors]
    out = function(*inputs, stride, add)
    grad = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def differences(shape: tuple[int, ...], stride: int, add: bool, dtype: torch.dtype = torch.float32) -> list[str]:
    tensors, tolerance = drawn(shape, dtype), 4e-6 if dtype == torch.float32 else 4e-3
    expected = results(truth, [t.double() for t in tensors], stride, add)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = results(ours, tensors, stride, add)
    failures = []
    for name, t, o in zip(NAMES, expected, found, strict=True):
        error = float((o.double() - t).abs().max() / t.abs().max())
        failures += [f"{name}: {error}"] if not error < tolerance else []
    return failures


def mixed() -> list[str]:
    """Under autocast a float32 map is read as it is: its convolution is half, its sum with it float32."""
    x, weight, bias = drawn(SAME, torch.float32)
    with torch.autocast("cpu", torch.float16):
        types = [ours(x, weight, bias, 1, add).dtype for add in (False, True)]
    return [] if types == [torch.float16, torch.float32] else [str(types)]


def repeats() -> list[str]:
    pairs = zip(*(results(ours, drawn(STRIDED, torch.float32), 2, False) for _ in range(2)), strict=True)
    return [f"{name} differs" for name, (a, b) in zip(NAMES, pairs, strict=True) if not torch.equal(a, b)]


def second() -> list[str]:
    """Second derivatives, by torch's operators."""
    found = []
    for function in (ours, truth):
        x, weight, bias = (t.requires_grad_() for t in drawn((1, 4, 5, 3), torch.float32))
        (first,) = torch.autograd.grad(function(x, weight, bias, 1, True).sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [x, weight]))
    return [] if all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*found, strict=True)) else ["differ"]


def registered() -> list[str]:
    x, *parameters = drawn((1, 3, 4, 2), torch.float32)
    x, weight, bias = (t.detach().requires_grad_() for t in (x.permute(0, 3, 1, 2), *parameters))
    with warnings.catch_warnings():  # opcheck itself reads the gradient of tensors that are no leaves
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        opcheck(depthwise_launch.depthwise_op, (x, weight, bias, (1, 1), (3, 4), 1, True, torch.float32))
    return []


CHECKS = {
    "same": lambda: differences(SAME, 1, False),
    "added": lambda: differences(SAME, 1, True),
    "strided": lambda: differences(STRIDED, 2, False),
    "half": lambda: differences(SAME, 1, False, torch.float16),
    "mixed": mixed,
    "repeats": repeats,
    "second": second,
    "registered": registered,
}

if __name__ == "__main__":
    print(json.dumps({name: CHECKS[name]() for name in sys.argv[1:]}))
