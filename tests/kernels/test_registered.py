"""The backends as torch ops: opcheck, compile, export, autocast, checkpointing, odd inputs, FLOP counts."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from visionattn.kernels import neighborhood_attention, window_attention


@pytest.fixture
def backend(registered_backend: str) -> str:
    """Plain operators (``traceable``) have nothing to register."""
    return registered_backend


class Mixed(nn.Module):
    """A strip and a dilated neighborhood with a bias, from one projection whose thirds are not contiguous."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend
        self.project = nn.Linear(16, 48)
        self.bias = nn.Parameter(torch.randn(2, 5, 7))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, 2, 8)).unbind(-3)
        near = neighborhood_attention(
            q, k, v, kernel_size=(3, 4), dilation=(2, 1), bias=self.bias, backend=self.backend
        )
        strip = window_attention(q, k, v, window=(x.shape[1], 2), shift=(0, 1), backend=self.backend)
        return (near + strip).flatten(-2)


def gradients(module: nn.Module, out: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out.square().sum(), list(module.parameters())))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck looks at its own tensors
@pytest.mark.parametrize("with_bias", [True, False])
def test_opcheck(backend: str, with_bias: bool) -> None:
    q, k, v = (torch.randn(2, 5, 6, 2, 4, requires_grad=True) for _ in range(3))
    bias = torch.randn(2, 5, 3, requires_grad=True) if with_bias else None
    rows, cols = [3, 1, 0, 2], [2, 2, 0, 1]
    op = getattr(torch.ops.visionattn, backend).default
    torch.library.opcheck(op, (q, k, v, bias, rows, cols, 0.5))
    out, stats = (x.detach() for x in op(q, k, v, bias, rows, cols, 0.5))
    saved = [None if x is None else x.detach() for x in (q, k, v, bias)]
    backward = getattr(torch.ops.visionattn, f"{backend}_backward").default
    torch.library.opcheck(backward, (torch.randn_like(out), *saved, out, stats, rows, cols, 0.5))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("with_bias", [True, False])
def test_opcheck_packed(backend: str, with_bias: bool) -> None:
    qkv = torch.randn(2, 5, 6, 3, 2, 4, requires_grad=True)
    bias = torch.randn(2, 5, 3, requires_grad=True) if with_bias else None
    rows, cols = [3, 1, 0, 2], [2, 2, 0, 1]
    op = getattr(torch.ops.visionattn, f"{backend}_packed").default
    torch.library.opcheck(op, (qkv, bias, rows, cols, 0.5))
    saved = qkv.detach(), None if bias is None else bias.detach()
    out, stats = op(*saved, rows, cols, 0.5)
    backward = getattr(torch.ops.visionattn, f"{backend}_packed_backward").default
    torch.library.opcheck(backward, (torch.randn_like(out), *saved, out, stats, rows, cols, 0.5))


@pytest.mark.parametrize("choice", ["auto", "tiled", "reference"])
def test_packed_is_the_same_function(choice: str) -> None:
    """Values, the one gradient, autocast, a compiled graph of any size, FLOPs; and a shape that does not fit."""
    qkv, bias = torch.randn(2, 6, 9, 3, 2, 4, requires_grad=True), torch.randn(2, 5, 5, requires_grad=True)

    def packed(qkv: Tensor) -> Tensor:
        return neighborhood_attention.packed(qkv, kernel_size=3, dilation=2, bias=bias, backend=choice)

    def apart(qkv: Tensor) -> Tensor:
        return neighborhood_attention(*qkv.unbind(3), kernel_size=3, dilation=2, bias=bias, backend=choice)

    def results(function: Callable[[Tensor], Tensor], qkv: Tensor) -> list[Tensor]:
        out = function(qkv)
        return [out, *torch.autograd.grad(out.float().square().sum(), (qkv, bias))]

    torch._dynamo.reset()
    compiled = torch.compile(packed, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(results(packed, qkv), results(apart, qkv))
    torch.testing.assert_close(results(compiled, qkv), results(apart, qkv))
    turned = torch.randn(3, 2, 4, 5, 8, 7).permute(3, 4, 5, 0, 1, 2).requires_grad_()  # another size, any strides
    torch.testing.assert_close(results(compiled, turned), results(apart, turned))
    with torch.autocast("cpu", torch.bfloat16):
        out, gradient, _ = results(packed, qkv)
    assert (out.dtype, gradient.dtype) == (torch.bfloat16, torch.float32)
    with FlopCounterMode(display=False) as counter:
        packed(qkv).sum().backward()
    if choice != "reference":
        assert counter.get_total_flops() == 3 * 4 * 4 * 9 * (2 * 6 * 9 * 2)
    with pytest.raises(ValueError, match=r"\(B, H, W, 3, heads, D\), got \(2, 6, 9, 2, 4\)"):
        neighborhood_attention.packed(qkv[:, :, :, 0], kernel_size=3)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("choice", ["auto", "tiled", "reference"])
def test_compiles_as_one_graph(choice: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    module = Mixed(choice)
    compiled = torch.compile(module, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((2, 8, 9, 16), (1, 11, 6, 16)):
        x = torch.randn(shape)
        ours, plain = compiled(x), module(x)
        torch.testing.assert_close(ours, plain)
        torch.testing.assert_close(gradients(module, ours), gradients(module, plain))


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_any_size(backend: str, strict: bool) -> None:
    module = Mixed(backend).eval()
    sizes = dict.fromkeys((0, 1, 2), torch.export.Dim.AUTO)
    program = torch.export.export(module, (torch.randn(2, 8, 9, 16),), dynamic_shapes={"x": sizes}, strict=strict)
    x = torch.randn(3, 11, 7, 16)
    torch.testing.assert_close(program.module()(x), module(x))


def test_autocast_runs_in_the_autocast_type_and_keeps_the_bias_in_its_own(backend: str) -> None:
    module, x = Mixed(backend), torch.randn(2, 8, 9, 16)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    assert out.dtype == torch.bfloat16
    assert module.bias.dtype == torch.float32
    torch.testing.assert_close(out.float(), module(x), atol=0.1, rtol=0.1)
    assert gradients(module, out.float())[0].dtype == torch.float32
    q = torch.randn(1, 4, 4, 1, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert window_attention(q, q, q, window=2, backend=backend).dtype == torch.bfloat16
        assert window_attention(*[q.double()] * 3, window=2, backend=backend).dtype == torch.float64


def test_checkpointing_changes_nothing(backend: str) -> None:
    module, x = Mixed(backend), torch.randn(2, 8, 9, 16, requires_grad=True)
    plain, again = module(x), checkpoint(module, x, use_reentrant=False)
    assert torch.equal(plain, again)
    for a, b in zip(gradients(module, plain), gradients(module, again), strict=True):
        assert torch.equal(a, b)


def test_any_strides(backend: str) -> None:
    q, k, v = (torch.randn(2, 3, 7, 6, 5).permute(0, 3, 2, 1, 4) for _ in range(3))  # heads before rows
    v = v.transpose(-1, -2).contiguous().transpose(-1, -2)  # channels apart
    grad = torch.randn(1).expand(2, 6, 7, 3, 5)
    bias = torch.randn(3, 5, 3).transpose(1, 2)
    results = []
    for make in (lambda x: x, lambda x: x.contiguous()):
        inputs = [make(x).detach().requires_grad_() for x in (q, k, v, bias)]
        out = window_attention(*inputs[:3], window=(2, 3), bias=inputs[3], shift=1, backend=backend)
        results.append([out, *torch.autograd.grad(out, inputs, make(grad))])
    torch.testing.assert_close(*results)


def test_only_the_bias_needs_a_gradient(backend: str) -> None:
    q, k, v = (torch.randn(2, 5, 6, 2, 4) for _ in range(3))
    bias = torch.randn(2, 5, 5, requires_grad=True)
    results = []
    for name in (backend, "reference"):
        out = neighborhood_attention(q, k, v, kernel_size=3, bias=bias, backend=name)
        results.append(torch.autograd.grad(out.square().sum(), bias)[0])
    torch.testing.assert_close(*results)


def test_a_bias_that_needs_no_gradient(backend: str) -> None:
    x, bias = torch.randn(2, 5, 6, 2, 4, requires_grad=True), torch.randn(2, 5, 5)
    results = []
    for name in (backend, "reference"):
        out = neighborhood_attention(x, x, x, kernel_size=3, bias=bias, backend=name)
        results.append(torch.autograd.grad(out.square().sum(), x)[0])
    torch.testing.assert_close(*results)


def test_an_empty_batch_and_inference_mode(backend: str) -> None:
    q = torch.randn(0, 5, 6, 2, 4, requires_grad=True)
    bias = torch.randn(2, 5, 5, requires_grad=True)
    out = neighborhood_attention(q, q, q, kernel_size=3, bias=bias, backend=backend)
    assert out.shape == q.shape
    assert torch.autograd.grad(out.sum(), bias)[0].abs().max() == 0
    with torch.inference_mode():
        full = torch.randn(1, 5, 6, 2, 4)
        inferred = neighborhood_attention(full, full, full, kernel_size=3, bias=bias, backend=backend)
    trained = neighborhood_attention(*[full.clone()] * 3, kernel_size=3, bias=bias, backend=backend)
    torch.testing.assert_close(inferred.clone(), trained.detach())
    trained.sum().backward()  # the tables made in inference mode serve here too


def test_flops_are_those_of_the_real_pairs(backend: str) -> None:
    q = torch.randn(2, 9, 7, 3, 8, requires_grad=True)
    v = torch.randn(2, 9, 7, 3, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        out = neighborhood_attention(q, q, v, kernel_size=3, dilation=2, backend=backend)
    forward = counter.get_total_flops()
    assert forward == 2 * (8 + 4) * 9 * (2 * 9 * 7 * 3)
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * forward
