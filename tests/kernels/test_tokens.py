"""``token_attention``: every backend against the reference, as a torch op, and what it refuses."""

import random

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.kernels.compiler import available, each_of
from tests.shapes import checked_shapes  # noqa: F401
from visionattn.benchmarks.kernels.accuracy import Error
from visionattn.kernels import token_attention
from visionattn.kernels.backends.order import TOKENS
from visionattn.kernels.backends.tiled import tokens as tiled_tokens

HERE = [backend.name for backend in TOKENS if backend.name not in ("reference", "fused", "triton")]
REGISTERED = [name for name in HERE if hasattr(torch.ops.visionattn, f"{name}_tokens")]
backend, registered = each_of(HERE), each_of(REGISTERED)


def drawn(seed: int, most: int = 40) -> list[Tensor]:
    """q, k, v, the gradient of the output, and in three of four cases a bias; float64."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    batch, heads, depth, values = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 35), rng.randint(1, 35)
    queries, keys = rng.randint(1, most), rng.choice([rng.randint(1, most), rng.randint(250, 530)])
    shapes = [(batch, queries, heads, depth), (batch, keys, heads, depth), (batch, keys, heads, values)]
    shapes += [(batch, queries, heads, values)] + ([(heads, queries, keys)] if rng.random() < 0.75 else [])
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def results(tensors: list[Tensor], backend: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The output and the gradients of q, k, v and the bias."""
    q, k, v, grad, *bias = (x.to(dtype).requires_grad_() for x in tensors)
    out = token_attention(q, k, v, bias=bias[0] if bias else None, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, [q, k, v, *bias], grad.to(out.dtype))]


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_reference_in_float64(backend: str, seed: int) -> None:
    tensors = drawn(seed)
    torch.testing.assert_close(results(tensors, backend), results(tensors, "reference"), rtol=1e-11, atol=1e-12)


@pytest.mark.heavy
def test_equals_the_reference_on_many_shapes(backend: str) -> None:
    for seed in range(100, 500):
        tensors = drawn(seed, 150)
        torch.testing.assert_close(results(tensors, backend), results(tensors, "reference"), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_error_is_at_most_twice_that_of_plain_code(backend: str, seed: int, dtype: torch.dtype) -> None:
    """Plus four roundings of the largest value, as for the operators on maps."""
    rounded = [x.to(dtype).double() for x in drawn(seed)]
    truth, plain, ours = (results(rounded, *how) for how in (("reference",), ("reference", dtype), (backend, dtype)))
    for t, p, o in zip(truth, plain, ours, strict=True):
        own_error, plain_error = (float((x.double() - t).abs().max()) for x in (o, p))
        assert Error(own_error, plain_error, float(t.abs().max()), torch.finfo(dtype).eps).is_fine


@pytest.mark.parametrize("backend", ["reference", *HERE])
def test_gradcheck(backend: str) -> None:
    q, k, v = (torch.randn(2, size, 2, 3, dtype=torch.float64, requires_grad=True) for size in (3, 2, 2))
    bias = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return token_attention(q, k, v, bias=bias, scale=0.7, backend=available(backend))

    assert torch.autograd.gradcheck(attend, (q, k, v, bias))


def test_parts_of_images_and_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.randn(shape).double() for shape in [(3, 10, 2, 4), (3, 7, 2, 4), (3, 7, 2, 5), (3, 10, 2, 5)]]
    tensors.append(torch.randn(2, 10, 7).double())
    whole = results(tensors, "tiled")
    for budget in (14 * 4, 14 * 20, 1):
        monkeypatch.setitem(tiled_tokens.CHUNK, "cpu", budget)
        torch.testing.assert_close(results(tensors, "tiled"), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_two_runs_give_equal_bits(registered: str, dtype: torch.dtype) -> None:
    tensors = [torch.randn(5, size, 3, 16) for size in (9, 600, 600, 9)] + [torch.randn(3, 9, 600)]
    first, again = results(tensors, registered, dtype), results(tensors, registered, dtype)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if registered == "cpp":
        torch.set_num_threads(3 - min(torch.get_num_threads(), 2))
        other = results(tensors, registered, dtype)
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_bias_that_hides_the_first_keys(backend: str) -> None:
    """The first 300 keys, more than the kernels take at a time, are out of sight, and large logits do not overflow."""
    q, k, v = (torch.randn(1, size, 2, 8).double() for size in (20, 520, 520))
    bias = torch.zeros(2, 20, 520).double()
    bias[:, :, :300] = float("-inf")
    out = token_attention(100 * q, k, v, bias=bias, backend=backend)
    torch.testing.assert_close(out, token_attention(100 * q, k[:, 300:], v[:, 300:], backend="reference"))


class Mixed(nn.Module):
    """A map to few tokens and back, from one projection whose thirds are not contiguous."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend, self.project = backend, nn.Linear(16, 48)
        self.bias = nn.Parameter(torch.randn(2, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, 2, 8)).unbind(-3)
        few = q[:, :4]
        bias = self.bias.expand(-1, -1, x.shape[1])
        gathered = token_attention(few, k, v, bias=bias, backend=self.backend)
        return token_attention(q, few, gathered, bias=bias.transpose(1, 2), backend=self.backend).flatten(2)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck looks at its own tensors
@pytest.mark.parametrize("with_bias", [True, pytest.param(False, marks=pytest.mark.heavy)])
def test_opcheck(registered: str, with_bias: bool) -> None:
    q, k, v = (torch.randn(2, size, 2, 4, requires_grad=True) for size in (5, 3, 3))
    bias = torch.randn(2, 5, 3, requires_grad=True) if with_bias else None
    op = getattr(torch.ops.visionattn, f"{registered}_tokens").default
    torch.library.opcheck(op, (q, k, v, bias, 0.5))
    out, stats = (x.detach() for x in op(q, k, v, bias, 0.5))
    saved = [None if x is None else x.detach() for x in (q, k, v, bias)]
    backward = getattr(torch.ops.visionattn, f"{registered}_tokens_backward").default
    torch.library.opcheck(backward, (torch.randn_like(out), *saved, out, stats, 0.5))


@pytest.mark.parametrize(
    "choice", ["auto", *(pytest.param(x, marks=pytest.mark.heavy) for x in ("tiled", "traceable"))]
)
def test_compiles_and_exports_as_one_graph(choice: str) -> None:
    torch._dynamo.reset()
    module = Mixed(choice)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 30, 16), (3, 21, 16)):
        x = torch.randn(shape)
        ours, plain = compiled(x), module(x)
        torch.testing.assert_close(ours, plain)
        ours, plain = (torch.autograd.grad(y.square().sum(), list(module.parameters())) for y in (ours, plain))
        torch.testing.assert_close(ours, plain)
    sizes = dict.fromkeys((0, 1), torch.export.Dim.AUTO)
    program = torch.export.export(module.eval(), (torch.randn(2, 30, 16),), dynamic_shapes={"x": sizes})
    torch.testing.assert_close(program.module()(x), module(x))


def test_autocast_empty_batches_and_only_the_bias(registered: str) -> None:
    q, k, v = (torch.randn(2, size, 2, 8) for size in (6, 3, 3))
    bias = torch.randn(2, 6, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert token_attention(q, k, v, bias=bias, backend=registered).dtype == torch.bfloat16
    found = [
        torch.autograd.grad(token_attention(q, k, v, bias=bias, backend=name).square().sum(), bias)[0]
        for name in (registered, "reference")
    ]
    torch.testing.assert_close(*found)
    out = token_attention(q[:0], k[:0], v[:0], bias=bias, backend=registered)
    assert out.shape == (0, 6, 2, 8)
    assert torch.autograd.grad(out.sum(), bias)[0].abs().max() == 0


def test_flops_are_those_of_the_pairs(registered: str) -> None:
    q, k, v = (torch.randn(2, *size, requires_grad=True) for size in ((6, 3, 8), (5, 3, 8), (5, 3, 4)))
    with FlopCounterMode(display=False) as counter:
        token_attention(q, k, v, backend=registered).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (8 + 4) * 2 * 3 * 6 * 5


def test_each_backend_says_why_it_refuses() -> None:
    q = torch.randn(1, 4, 2, 8)
    reasons = token_attention.explain(q, q, q)
    assert "CUDA" in reasons["fused"]
    assert reasons["tiled"] == reasons["reference"] == ""
    assert "float16" in token_attention.explain(q.half(), q.half(), q.half())["cpp"]
    with pytest.raises(ValueError, match="'fused' refuses: torch's fused kernels"):
        token_attention(q, q, q, backend="fused")
    with pytest.raises(ValueError, match="no backend 'natten'"):
        token_attention(q, q, q, backend="natten")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 4, 8), (2, 4, 2, 8), (2, 4, 2, 8)], r"q must have 4 dimensions .* got \(2, 4, 8\)"),
        ([(2, 4, 2, 8), (2, 4, 3, 8), (2, 4, 3, 8)], r"q and k must agree .* \(2, 4, 2, 8\) and \(2, 4, 3, 8\)"),
        ([(2, 4, 2, 8), (2, 5, 2, 8), (2, 4, 2, 8)], r"k and v must agree .* \(2, 5, 2, 8\) and \(2, 4, 2, 8\)"),
        ([(2, 4, 2, 8), (2, 0, 2, 8), (2, 0, 2, 8)], "keys and head widths must be at least 1"),
        ([(2, 4, 2, 8), (2, 5, 2, 8), (2, 5, 2, 8), (2, 5, 4)], r"\(heads, queries, keys\) = \(2, 4, 5\), got"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_numbers(shapes, message, monkeypatch) -> None:
    monkeypatch.undo()  # the operator's own messages, before those of the shapes
    q, k, v, *bias = (torch.randn(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        token_attention(q, k, v, bias=bias[0] if bias else None)
    with pytest.raises(TypeError, match="one floating type"):
        token_attention(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1))
