"""Run as a script with TRITON_INTERPRET=1: checks the kernels of layer norms and of GELU's gradient on the CPU.

Prints JSON, case -> failures. The arguments name the checks.
"""

import copy
import json
import sys
import warnings

import torch
from torch import Tensor, nn
from torch.library import opcheck

from visionattn.backbones.feed_forward import FeedForward
from visionattn.kernels.backends.triton import batch_norm_launch, rows, rows_launch
from visionattn.kernels.folding import pointwise
from visionattn.kernels.linear import Linear, linear_then
from visionattn.kernels.norm import LayerNorm, with_norm

SHAPE = (3, 5, 7, 20)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def differ(found: list[Tensor], expected: list[Tensor], tolerance: float) -> list[str]:
    floor = 1e-2 * max(float(b.abs().max()) for b in expected)  # a bias before a batch norm has a gradient of zero
    errors = [float((a.double() - b).abs().max()) for a, b in zip(found, expected, strict=True)]
    errors = [error / max(float(b.abs().max()), floor) for error, b in zip(errors, expected, strict=True)]
    return [f"{place}: {error}" for place, error in enumerate(errors) if not error < tolerance]


def beside(norm: nn.LayerNorm, x: Tensor, both: bool) -> Tensor:
    """Something of x and its norm, or of the norm alone."""
    of_x, normed = with_norm(x, norm)
    return torch.stack([of_x.cos(), normed.sin()]) if both else normed.sin()


def gradients(function, layer: nn.Module, x: Tensor, *rest: object) -> list[Tensor]:
    x = x.detach().requires_grad_()
    out = function(layer, x, *rest)
    grad = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], grad)]


def norm(dtype: torch.dtype = torch.float32) -> list[str]:
    layer, found = LayerNorm(SHAPE[-1]), []
    nn.init.normal_(layer.weight)
    for both in (True, False):
        x = (2 * drawn(*SHAPE) + 0.5).to(dtype)
        layer.double()
        expected = gradients(beside, layer, x.double(), both)
        layer.float()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            results = gradients(beside, layer, x, both)
            found += (
                [] if "Norm" in type(layer(x.requires_grad_()).grad_fn).__name__ else ["the kernels were not taken"]
            )
        found += differ(results, expected, 4e-6 if dtype == torch.float32 else 4e-3)
        found += [] if layer(x).dtype == x.dtype else ["its type"]
    return found


def hidden(layer: Linear, x: Tensor, activation: nn.GELU) -> Tensor:
    return linear_then(layer, activation, x)


def gelu() -> list[str]:
    found = []
    for approximate in ("none", "tanh"):
        layer, activation, x = Linear(SHAPE[-1], 150), nn.GELU(approximate), drawn(*SHAPE)
        nn.init.normal_(layer.weight)
        expected = gradients(hidden, layer.double(), x.double(), activation)
        found += differ(gradients(hidden, layer.float(), x, activation), expected, 4e-6)
        found += [] if "Gelu" in type(hidden(layer, x, activation).grad_fn).__name__ else ["the kernels were not taken"]
    return found


class Normed(nn.Module):
    """A batch norm, a 1x1 convolution, another batch norm, as MaxViT has them, with a GELU or without."""

    def __init__(self, approximate: str | None) -> None:
        super().__init__()
        self.before, self.layer, self.norm = nn.BatchNorm2d(20), nn.Conv2d(20, 150, 1), nn.BatchNorm2d(150, eps=1e-3)
        self.activation = None if approximate is None else nn.GELU(approximate)
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        y = pointwise(self.layer, x.permute(0, 3, 1, 2), before=self.before, norm=self.norm, activation=self.activation)
        return y.permute(0, 2, 3, 1)


def batch_norm(dtype: torch.dtype = torch.float32) -> list[str]:
    found = []
    for approximate in ("none", "tanh", None):
        torch.manual_seed(0)
        layer, x = Normed(approximate), 2 * drawn(*SHAPE) + 0.5
        double = copy.deepcopy(layer).double()
        expected = gradients(nn.Module.__call__, double, x.double())
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found += differ(gradients(nn.Module.__call__, layer, x), expected, 2e-4 if dtype == torch.float32 else 5e-2)
            taken = type(rows.batch_norm(layer.before, x.permute(0, 3, 1, 2).requires_grad_(), "").grad_fn).__name__
        found += [] if "BatchNorm" in taken and "Native" not in taken else [f"taken: {taken}"]
        for name, buffer in Normed.named_buffers(double):
            if "norm" in name:
                found += differ([dict(layer.named_buffers())[name].double() + 1e-9], [buffer + 1e-9], 1e-2)
    return found


def repeats() -> list[str]:
    layer, feed, x = LayerNorm(SHAPE[-1]), FeedForward(SHAPE[-1], 40), drawn(*SHAPE)
    first, second = ([*gradients(beside, layer, x, True), *gradients(nn.Module.__call__, feed, x)] for _ in range(2))
    return ["differ"] if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)) else []


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.feed = LayerNorm(SHAPE[-1]), FeedForward(SHAPE[-1], 40)
        self.batch = Normed("none")

    def forward(self, x: Tensor) -> Tensor:
        x, normed = with_norm(x, self.norm)
        return x + self.feed(normed) + self.batch(x)[..., : SHAPE[-1]]


def second() -> list[str]:
    """Second derivatives, by torch's operators."""
    layer, found = Net(), []
    for dtype in (torch.float32, torch.float64):
        x = drawn(*SHAPE).to(dtype).requires_grad_()
        (first,) = torch.autograd.grad(layer.to(dtype)(x).sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [x, *layer.parameters()]))
    return differ(*found, 1e-4)


def frozen() -> list[str]:
    """What needs no gradient gets none: the bias alone, the map alone, nothing."""
    layer, x, found = Net(), drawn(*SHAPE), []
    layer.requires_grad_(False)
    expected = layer(x)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_()
        layer(x).sum().backward()
        found += [] if parameter.grad is not None else [name]
        parameter.requires_grad_(False)
    (grad,) = torch.autograd.grad(layer(x.requires_grad_()).sum(), x)
    found += [] if grad.isfinite().all() else ["x"]
    with torch.no_grad():
        return found + differ([layer(x)], [expected.double()], 1e-6)


def compiled() -> list[str]:
    """In a graph the forward is torch's, the backward ours; in training, inference, and for any batch."""
    layer, x = Net(), drawn(*SHAPE)
    expected, found = gradients(nn.Module.__call__, layer, x), []
    for dynamic in (False, True):
        torch._dynamo.reset()
        graph = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=dynamic)
        results = gradients(lambda _, x, graph=graph: graph(x), layer, x)
        found += differ(results, [e.double() for e in expected], 1e-4)
        with torch.no_grad():
            found += differ([graph(x)], [expected[0].double()], 1e-5)
    return found


def registered() -> list[str]:
    x, weight, bias = (t.requires_grad_() for t in (drawn(4, 6), drawn(6), drawn(6)))
    with warnings.catch_warnings():  # opcheck itself reads the gradient of tensors that are no leaves
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        opcheck(rows_launch.gelu_op, (x, bias, "none"))
        images = drawn(2, 6, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
        opcheck(batch_norm_launch.batch_norm_op, (images, weight, bias, 1e-5, "none"))
        stats = torch.native_layer_norm(x, (6,), weight, bias, 1e-5)[1:]
        tensors = [t.detach() for t in (x, x, x, weight, *stats)]
        opcheck(rows_launch.norm_backward_op, tuple(tensors), test_utils=("test_schema", "test_faketensor"))
    return []


CHECKS = {
    "norm": norm,
    "half": lambda: norm(torch.float16),
    "gelu": gelu,
    "batch_norm": batch_norm,
    "half_batch_norm": lambda: batch_norm(torch.float16),
    "repeats": repeats,
    "second": second,
    "frozen": frozen,
    "compiled": compiled,
    "registered": registered,
}

if __name__ == "__main__":
    print(json.dumps({name: CHECKS[name]() for name in sys.argv[1:]}))
