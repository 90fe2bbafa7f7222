"""Run as a script with TRITON_INTERPRET=1: kernels that cannot be built give way to plain code, forward and backward.

Prints JSON, case -> failures. The arguments name the checks: an operator, or ``all``; then whether it is compiled.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from triton.runtime.interpreter import InterpretedFunction

from visionattn.kernels import neighborhood_attention, routed_attention, selective_scan, token_attention
from visionattn.kernels.backends.triton import (
    depthwise_launch,
    launch,
    launcher,
    routed_launch,
    rows_launch,
    scan_launch,
    token_launch,
)
from visionattn.kernels.backends.triton.fallback import SlowerCode
from visionattn.kernels.depthwise import depthwise, on_map
from visionattn.kernels.folding import pointwise
from visionattn.kernels.linear import Linear, linear_then
from visionattn.kernels.norm import LayerNorm, with_norm
from visionattn.kernels.window import window_attention

Function = Callable[..., Tensor]
Case = tuple[Function, list[Tensor]]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def window() -> Case:
    def run(qkv: Tensor, bias: Tensor) -> Tensor:
        return window_attention(*qkv.unbind(3), window=(3, 3), shift=(1, 1), bias=bias, backend="triton")

    return run, [drawn(2, 7, 6, 3, 2, 16), drawn(2, 5, 5)]


def neighborhood() -> Case:
    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return neighborhood_attention(q, k, v, kernel_size=(3, 3), bias=bias, backend="triton")

    return run, [*(drawn(1, 6, 5, 2, 16) + index for index in range(3)), drawn(2, 5, 5)]


def tokens() -> Case:
    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return token_attention(q, k, v, bias=bias, backend="triton")

    return run, [drawn(2, 20, 2, 16), drawn(2, 5, 2, 16), drawn(2, 5, 2, 16) + 1, drawn(2, 20, 5)]


def routed() -> Case:
    routes = torch.tensor([[[0, 1], [2, 3], [3, -1], [1, 0]]])

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return routed_attention(q, k, v, routes, region=(3, 3), backend="triton")

    return run, [drawn(1, 6, 6, 2, 16) + index for index in range(3)]


def scan() -> Case:
    def run(*inputs: Tensor) -> Tensor:
        return selective_scan(*inputs, backend="triton")

    shapes = (1, 5, 7, 8), (1, 5, 7, 4, 8), (4, 8, 2), (1, 5, 7, 4, 2), (1, 5, 7, 4, 2)
    x, delta, a, b, c = (drawn(*shape) for shape in shapes)
    return run, [x, delta, -a.exp(), b, c]


def of_layer(layer: nn.Module, run: Function, x: Tensor) -> Case:
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        for name, value in zip(names, parameters, strict=True):
            owner, _, own = name.rpartition(".")
            layer.get_submodule(owner)._parameters[own] = value  # type: ignore[assignment]
        return run(layer, x)

    return call, [x, *(parameter.detach() + 0.1 * drawn(*parameter.shape) for parameter in layer.parameters())]


def norm() -> Case:
    def run(layer: nn.Module, x: Tensor) -> Tensor:
        x, normed = with_norm(x, layer)
        return x.cos() + normed.sin()

    return of_layer(LayerNorm(20), run, 2 * drawn(2, 3, 5, 20) + 0.5)


def gelu() -> Case:
    activation = nn.GELU("tanh")
    return of_layer(Linear(20, 30), lambda layer, x: linear_then(layer, activation, x), drawn(2, 3, 5, 20))


def batch_norm() -> Case:
    layer = nn.Sequential(nn.Conv2d(20, 30, 1), nn.BatchNorm2d(30))

    def run(layer: nn.Module, x: Tensor) -> Tensor:
        return pointwise(layer[0], x.permute(0, 3, 1, 2), norm=layer[1], activation=nn.GELU()).permute(0, 2, 3, 1)

    return of_layer(layer, run, drawn(2, 4, 5, 20))


def added() -> Case:
    def run(layer: nn.Module, x: Tensor) -> Tensor:
        return on_map(layer, x, add=True)

    return of_layer(nn.Conv2d(8, 8, 3, padding=1, groups=8), run, drawn(2, 5, 6, 8))


def strided() -> Case:
    def run(x: Tensor, weight: Tensor) -> Tensor:
        return depthwise(lambda *_: drawn(0), x.permute(0, 3, 1, 2), weight, None, (0, 1), (3, 3), 2)

    return run, [drawn(2, 6, 5, 8), drawn(8, 1, 3, 3)]


OF_TORCH = {False: (gelu, batch_norm), True: (gelu, batch_norm, norm)}
"""Those whose forward has no kernel, by whether they are compiled."""
OWNERS = (
    launch.OR_TILED, token_launch.or_tiled, routed_launch.or_tiled, scan_launch.or_chunks,
    rows_launch.or_torch, depthwise_launch.or_torch,
)  # fmt: skip
CASES = (window, neighborhood, tokens, routed, scan, norm, gelu, batch_norm, added, strided)


@contextmanager
def broken() -> Iterator[None]:
    """Every kernel fails to compile."""

    def fail(self: object, grid: object) -> None:
        raise OSError("ptxas was not found\nand more")

    kept = InterpretedFunction.__getitem__
    InterpretedFunction.__getitem__ = fail
    try:
        yield
    finally:
        InterpretedFunction.__getitem__ = kept


def results(function: Function, inputs: list[Tensor], broken_forward: bool, broken_backward: bool) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    with broken() if broken_forward else warnings.catch_warnings():
        out = function(*leaves)
    grad = torch.linspace(-1, 2, out.numel()).view(out.shape)
    with broken() if broken_backward else warnings.catch_warnings():
        return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def differ(found: list[Tensor], expected: list[Tensor]) -> list[str]:
    floor = 1e-2 * max(float(b.abs().max()) for b in expected)  # a bias before a batch norm has a gradient of zero
    errors = [
        float((a - b).abs().max()) / max(float(b.abs().max()), floor) for a, b in zip(found, expected, strict=True)
    ]
    return [f"{place}: {error}" for place, error in enumerate(errors) if not error < 2e-4]


def check(make: Callable[[], Case], compiled: bool) -> list[str]:
    function, inputs = make()
    expected, found = results(function, inputs, False, False), []
    if compiled:
        torch._dynamo.reset()
        function = torch.compile(function, backend="aot_eager", fullgraph=True)
    for where in ((False, True), (True, True), (True, False)):
        launcher.FAILED.clear()
        for owner in OWNERS:
            owner.failed.clear()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            got = [results(function, inputs, *where) for _ in range(2)]
        told = [str(one.message) for one in told if one.category is SlowerCode]
        silent = not told and (where[1] or make not in OF_TORCH[compiled])
        found += [f"{where}: warned {len(told)} times"] if silent or len(set(told)) != len(told) else []
        found += [line for line in told if "(OSError: ptxas was not found)" not in line or " on cpu take" not in line]
        found += [f"{where}, {line}" for one in got for line in differ(one, expected)]
    return found


if __name__ == "__main__":
    wanted, how = sys.argv[1], sys.argv[2] == "compiled"
    chosen = [make for make in CASES if wanted in ("all", make.__name__)]
    print(json.dumps({make.__name__: check(make, how) for make in chosen}))
