"""Sizes that are symbols: one compiled graph and one exported program serve them all, and are checked when they run."""

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim

from visionattn.kernels import neighborhood_attention, window_attention

SIZES = ((3, 8, 9), (5, 7, 12), (4, 16, 11))


class Attention(nn.Module):
    """One use of an operator as the mixers make it: the geometry may follow the map."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        height, width = q.shape[1:3]
        if self.kind == "shifted":
            return window_attention(q, k, v, window=3, shift=1, bias=bias)
        if self.kind == "strip":
            return window_attention(q, k, v, window=(height, 2))
        if self.kind == "grid":
            return window_attention(q, k, v, window=3, dilation=(-(-height // 3), -(-width // 3)), bias=bias)
        return neighborhood_attention(q, k, v, kernel_size=3, dilation=2, bias=bias)


def inputs(batch: int, height: int, width: int) -> list[Tensor]:
    maps = [torch.randn(batch, height, width, 2, 6) for _ in range(3)]
    return [x.requires_grad_() for x in (*maps, torch.randn(2, 5, 5))]


@pytest.mark.parametrize("kind", ["shifted", "strip", "grid", "dilated"])
def test_one_graph_serves_every_size(kind: str) -> None:
    torch._dynamo.reset()
    module, counter = Attention(kind), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=counter)
    for sizes in SIZES:
        tensors = inputs(*sizes)
        results = []
        for function in (compiled, module):
            out = function(*tensors)
            grads = torch.autograd.grad(out.square().sum(), tensors, allow_unused=True)
            results.append([out, *(g for g in grads if g is not None)])
        torch.testing.assert_close(*results)
    assert counter.frame_count == 1


@pytest.mark.parametrize("kind", ["shifted", "strip", "grid", "dilated"])
def test_one_exported_program_serves_every_size(kind: str) -> None:
    """Nothing is asked of the sizes while the program is traced, whatever range they are promised to lie in."""
    module = Attention(kind)
    sizes = {0: Dim("B"), 1: Dim("H", max=100000), 2: Dim("W", max=100000)}
    with torch.no_grad():
        program = torch.export.export(module, tuple(inputs(*SIZES[0])), dynamic_shapes=(sizes, sizes, sizes, None))
        for size in SIZES:
            tensors = inputs(*size)
            torch.testing.assert_close(program.module()(*tensors), module(*tensors))


def test_a_map_that_is_too_small_is_named_when_the_program_runs() -> None:
    sizes = {1: Dim("H"), 2: Dim("W")}
    with torch.no_grad():
        arguments = tuple(inputs(1, 8, 9))
        program = torch.export.export(Attention("dilated"), arguments, dynamic_shapes=(sizes, sizes, sizes, None))
        with pytest.raises(ValueError, match=r"columns, 3 \* 2 = 6 > 5"):
            program.module()(*inputs(1, 8, 5))
