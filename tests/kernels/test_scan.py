"""``selective_scan``: every backend against the recurrence token by token, and what it refuses."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.kernels.compiler import each_of
from tests.kernels.scan_cases import drawn, results, token_by_token
from tests.shapes import checked_shapes  # noqa: F401
from visionattn.benchmarks.kernels.accuracy import Error
from visionattn.kernels import selective_scan
from visionattn.kernels.backends.order import SCAN

PLAIN = ["reference", "traceable"]
HERE = [backend.name for backend in SCAN if backend.name != "triton"]
REGISTERED = [name for name in HERE if hasattr(torch.ops.visionattn, f"{name}_scan")]
backend, registered = each_of(HERE), each_of(REGISTERED)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_forms_equal_the_recurrence_token_by_token(name: str, seed: int) -> None:
    *inputs, grad = (t.requires_grad_() for t in drawn(seed, 6))
    ours, plain = selective_scan(*inputs, backend=name), token_by_token(*inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-12)
    found = (torch.autograd.grad(y, inputs, grad) for y in (ours, plain))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_reference_in_float64(registered: str, seed: int) -> None:
    tensors = drawn(seed, 14, 40)  # more than 64 tokens in some
    torch.testing.assert_close(results(tensors, registered), results(tensors, "reference"), rtol=1e-10, atol=1e-11)


@pytest.mark.heavy
def test_equals_the_reference_on_many_shapes(registered: str) -> None:
    for seed in range(100, 400):
        tensors = drawn(seed, 20, 70)
        torch.testing.assert_close(results(tensors, registered), results(tensors, "reference"), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_error_is_at_most_twice_that_of_plain_code(registered: str, seed: int, dtype: torch.dtype) -> None:
    """Plus four roundings of the largest value, as for the operators of attention."""
    rounded = [t.to(dtype).double() for t in drawn(seed, 14, 40)]
    truth, plain, ours = (results(rounded, *how) for how in (("reference",), ("reference", dtype), (registered, dtype)))
    for t, p, o in zip(truth, plain, ours, strict=True):
        own_error, plain_error = (float((x.double() - t).abs().max()) for x in (o, p))
        assert Error(own_error, plain_error, float(t.abs().max()), torch.finfo(dtype).eps).is_fine


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_two_runs_give_equal_bits(registered: str, dtype: torch.dtype) -> None:
    tensors = drawn(5, 14, 40)
    first, again = results(tensors, registered, dtype), results(tensors, registered, dtype)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if registered == "cpp":
        for threads in (1, 2, 16):  # with 16 the jobs of an image and 16 channels are divided by directions
            torch.set_num_threads(threads)
            other = results(tensors, registered, dtype)
            assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


class Scanned(nn.Module):
    """Two directions whose tensors come from one projection and are not contiguous."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend, self.project = backend, nn.Linear(6, 6 + 2 * (6 + 2 + 2))
        self.rates = nn.Parameter(torch.randn(2, 6, 2))

    def forward(self, x: Tensor) -> Tensor:
        own, rest = self.project(x).split([6, 20], dim=-1)
        delta, b, c = rest.unflatten(-1, (2, 10)).split([6, 2, 2], dim=-1)
        return selective_scan(own, delta, -self.rates.exp(), b, c, backend=self.backend)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck looks at its own tensors
def test_opcheck(registered: str) -> None:
    x, delta, a, b, c, _ = (t.float().requires_grad_() for t in drawn(0))
    op = getattr(torch.ops.visionattn, f"{registered}_scan").default
    torch.library.opcheck(op, (x, delta, b, c, a))
    out, kept = (t.detach() for t in op(x, delta, b, c, a))
    saved = [t.detach() for t in (x, delta, b, c, a)]
    backward = getattr(torch.ops.visionattn, f"{registered}_scan_backward").default
    torch.library.opcheck(backward, (torch.randn_like(out), *saved, out, kept))


@pytest.mark.parametrize("choice", ["auto", pytest.param("traceable", marks=pytest.mark.heavy)])
def test_compiles_and_exports_as_one_graph(choice: str) -> None:
    torch._dynamo.reset()
    module = Scanned(choice)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 5, 4, 6), (3, 3, 7, 6)):
        x = torch.randn(shape)
        ours, plain = compiled(x), module(x)
        torch.testing.assert_close(ours, plain)
        ours, plain = (torch.autograd.grad(y.square().sum(), list(module.parameters())) for y in (ours, plain))
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    sizes = dict.fromkeys((0, 1, 2), torch.export.Dim.AUTO)
    program = torch.export.export(module.eval(), (torch.randn(2, 5, 4, 6),), dynamic_shapes={"x": sizes})
    torch.testing.assert_close(program.module()(x), module(x))


def test_autocast_and_empty_batches(registered: str) -> None:
    x, delta, a, b, c, _ = (t.float() for t in drawn(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert selective_scan(x, delta, a, b, c, backend=registered).dtype == torch.bfloat16
    a.requires_grad_()
    out = selective_scan(x[:0], delta[:0], a, b[:0], c[:0], backend=registered)
    assert out.shape == (0, *x.shape[1:])
    assert torch.autograd.grad(out.sum(), a)[0].abs().max() == 0


def test_flops_are_those_of_the_recurrence(registered: str) -> None:
    x, delta, a, b, c, _ = (t.float().requires_grad_() for t in drawn(2))
    with FlopCounterMode(display=False) as counter:
        selective_scan(x, delta, a, b, c, backend=registered).sum().backward()
    assert counter.get_total_flops() == 3 * 9 * x[..., 0].numel() * a.numel()


def test_gradcheck(backend: str) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(1, 2, 2, 2), (1, 2, 2, 4, 2), (4, 2, 1), (1, 2, 2, 4, 1), (1, 2, 2, 4, 1)]
    x, delta, a, b, c = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    inputs = [t.requires_grad_() for t in (x, delta, -a.exp(), b, c)]

    def scan(*inputs: Tensor) -> Tensor:
        return selective_scan(*inputs, backend=backend)

    assert torch.autograd.gradcheck(scan, inputs)


def test_strong_and_weak_decay_leave_no_nan(backend: str) -> None:
    """Steps of nothing and of thousands, and states that are gone after one token."""
    x, delta, a, b, c, grad = drawn(3)
    tensors = [x, 400 * delta, 100 * a, b, c, grad]
    for ours, plain in zip(results(tensors, backend), results(tensors, "reference"), strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PLAIN)
def test_half_types_are_computed_in_float32(name: str) -> None:
    rounded = [t.bfloat16().double() for t in drawn(4)]
    truth, ours = results(rounded, "reference")[0], results(rounded, name, torch.bfloat16)[0]
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), truth, rtol=2**-8, atol=1e-4 * float(truth.abs().max()))


def test_each_backend_says_why_it_refuses() -> None:
    call = drawn(0)[:-1]
    reasons = selective_scan.explain(*call)
    assert tuple(reasons) == tuple(backend.name for backend in SCAN)
    assert reasons["reference"] == reasons["traceable"] == ""
    with pytest.raises(ValueError, match="no backend 'natten'"):
        selective_scan(*call, backend="natten")


@pytest.mark.parametrize(
    ("at", "shape", "message"),
    [
        (0, (2, 4, 8), r"x must have 4 dimensions .* got \(2, 4, 8\)"),
        (1, (2, 3, 4, 2, 7), r"delta must be \(2, 3, 4, 2, 8\) beside this x and a, got \(2, 3, 4, 2, 7\)"),
        (2, (2, 7, 1), r"a must be \(directions, C, states\) for C = 8, got \(2, 7, 1\)"),
        (2, (5, 8, 1), r"1 to 4 directions .* got \(5, 8, 1\)"),
        (3, (2, 3, 4, 2, 2), r"b must be \(2, 3, 4, 2, 1\)"),
        (4, (2, 4, 3, 2, 1), r"c must be \(2, 3, 4, 2, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_numbers(
    at: int, shape: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the operator's own messages, before those of the shapes
    shapes = [(2, 3, 4, 8), (2, 3, 4, 2, 8), (2, 8, 1), (2, 3, 4, 2, 1), (2, 3, 4, 2, 1)]
    tensors = [torch.randn(shape if i == at else of) for i, of in enumerate(shapes)]
    with pytest.raises(ValueError, match=message):
        selective_scan(*tensors)
    fitting = [torch.randn(of) for of in shapes]
    with pytest.raises(TypeError, match="one floating type"):
        selective_scan(fitting[0].double(), *fitting[1:])
