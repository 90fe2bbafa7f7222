"""``routed_attention``: every backend against the reference, as a torch op, and what it refuses."""

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests.kernels.compiler import available, each_of
from tests.shapes import checked_shapes  # noqa: F401
from visionattn.benchmarks.kernels.accuracy import Error
from visionattn.kernels import routed_attention
from visionattn.kernels.backends.clipped import ClippedProbabilities, clipped_softmax
from visionattn.kernels.backends.order import ROUTED
from visionattn.kernels.backends.tiled import routed as tiled_routed
from visionattn.kernels.recording import recorded
from visionattn.kernels.routed_op import grid_of

HERE = [backend.name for backend in ROUTED if backend.name not in ("reference", "triton")]
REGISTERED = [name for name in HERE if hasattr(torch.ops.visionattn, f"{name}_routed")]
backend, registered = each_of(HERE), each_of(REGISTERED)


def drawn(seed: int) -> tuple[list[Tensor], Tensor, tuple[int, int]]:
    """q, k, v and the gradient of the output in float64, routes with gaps and repetitions, the region."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    batch, heads, depth, values = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 35), rng.randint(1, 35)
    size, region = (rng.randint(1, 17), rng.randint(1, 13)), (rng.randint(1, 7), rng.randint(1, 7))
    rows, columns = grid_of(size, region)
    count = rows * columns
    routes = torch.randint(
        -1 if rng.random() < 0.5 else 0, count, (batch, count, rng.randint(1, 5)), generator=generator
    )
    widths = depth, depth, values, values
    maps = [torch.randn((batch, *size, heads, w), generator=generator, dtype=torch.float64) for w in widths]
    return maps, routes, region


def results(
    maps: list[Tensor], routes: Tensor, region: tuple[int, int], backend: str, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """The output and the gradients of q, k and v."""
    q, k, v, grad = (x.to(dtype).requires_grad_() for x in maps)
    out = routed_attention(q, k, v, routes, region=region, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, [q, k, v], grad.to(out.dtype))]


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_reference_in_float64(backend: str, seed: int) -> None:
    call = drawn(seed)
    torch.testing.assert_close(results(*call, backend), results(*call, "reference"), rtol=1e-11, atol=1e-12)


@pytest.mark.heavy
def test_equals_the_reference_on_many_shapes(backend: str) -> None:
    for seed in range(100, 600):
        call = drawn(seed)
        torch.testing.assert_close(results(*call, backend), results(*call, "reference"), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", *HERE])
def test_equals_attention_to_gathered_copies(backend: str) -> None:
    """The published formulation, on a map that the regions divide."""
    q, k, v = (torch.randn(2, 8, 6, 3, 5).double() for _ in range(3))
    routes = torch.stack([torch.stack([torch.randperm(6)[:2] for _ in range(6)]) for _ in range(2)])

    def split(x: Tensor) -> Tensor:
        return x.view(2, 2, 4, 3, 2, 3, 5).permute(0, 1, 3, 5, 2, 4, 6).reshape(2, 6, 3, 8, 5)

    image = torch.arange(2)[:, None, None]
    copies = [split(x)[image, routes].transpose(2, 3).flatten(3, 4) for x in (k, v)]
    out = F.scaled_dot_product_attention(split(q), *copies, scale=0.3)
    out = out.view(2, 2, 3, 3, 4, 2, 5).permute(0, 1, 4, 2, 5, 3, 6).reshape(2, 8, 6, 3, 5)
    ours = routed_attention(q, k, v, routes, region=(4, 2), scale=0.3, backend=available(backend))
    torch.testing.assert_close(ours, out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("seed", [1, 4, 5])
def test_error_is_at_most_twice_that_of_plain_code(backend: str, seed: int, dtype: torch.dtype) -> None:
    """Plus four roundings of the largest value, as for the operators on maps."""
    maps, *rule = drawn(seed)
    rounded = [x.to(dtype).double() for x in maps]
    truth, plain, ours = (
        results(rounded, *rule, *how) for how in (("reference",), ("traceable", dtype), (backend, dtype))
    )
    for t, p, o in zip(truth, plain, ours, strict=True):
        own_error, plain_error = (float((x.double() - t).abs().max()) for x in (o, p))
        assert Error(own_error, plain_error, float(t.abs().max()), torch.finfo(dtype).eps).is_fine


@pytest.mark.parametrize("backend", ["reference", *REGISTERED])
def test_gradcheck(backend: str) -> None:
    q, k, v = (torch.randn(2, 3, 3, 1, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    routes = torch.tensor([[[0, 3], [2, 2], [-1, 1], [-1, -1]], [[1, 0], [3, -1], [0, 0], [2, 1]]])

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return routed_attention(q, k, v, routes, region=2, scale=0.7, backend=available(backend))

    assert torch.autograd.gradcheck(attend, (q, k, v))


@pytest.mark.parametrize("backend", ["reference", *HERE])
def test_queries_for_which_nothing_is_listed_get_zeros(backend: str) -> None:
    q, k, v = (100 * torch.randn(1, 5, 4, 2, 8, requires_grad=True) for _ in range(3))
    routes = torch.tensor([[[1, 2], [-1, -1], [0, -1]]])
    out = routed_attention(q, k, v, routes, region=(2, 4), backend=available(backend))
    assert out[:, 2:4].abs().max() == 0
    assert torch.isfinite(out).all()
    gradients = torch.autograd.grad(out.square().sum(), [q, k, v])
    assert all(torch.isfinite(x).all() for x in gradients)
    assert gradients[0][:, 2:4].abs().max() == 0


def test_a_map_smaller_than_a_region_is_one(backend: str) -> None:
    q, k, v = (torch.randn(2, 3, 2, 2, 4) for _ in range(3))
    out = routed_attention(q, k, v, torch.zeros(2, 1, 1, dtype=torch.int64), region=9, backend=backend)
    whole = F.scaled_dot_product_attention(*(x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)))
    torch.testing.assert_close(out, whole.transpose(1, 2).unflatten(1, (3, 2)))


def test_parts_of_regions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    call = drawn(2)
    whole = results(*call, "tiled")
    for budget in (1, 3000):
        monkeypatch.setitem(tiled_routed.CHUNK, "cpu", budget)
        torch.testing.assert_close(results(*call, "tiled"), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_two_runs_give_equal_bits(registered: str, dtype: torch.dtype) -> None:
    maps = [torch.randn(2, 20, 30, 3, 16) for _ in range(4)]
    call = maps, torch.randint(0, 24, (2, 24, 6)), (5, 5)
    first, again = results(*call, registered, dtype), results(*call, registered, dtype)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if registered == "cpp":
        torch.set_num_threads(3 - min(torch.get_num_threads(), 2))
        assert all(torch.equal(a, b) for a, b in zip(first, results(*call, registered, dtype), strict=True))


class Sparse(nn.Module):
    """Attention to regions found by their means, from one projection whose thirds are not contiguous."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend, self.project = backend, nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        high, wide = (x.shape[1] + 2) // 3, (x.shape[2] + 2) // 3
        x = F.pad(x, (0, 0, 0, 3 * wide - x.shape[2], 0, 3 * high - x.shape[1]))
        q, k, v = self.project(x).unflatten(-1, (3, 2, 8)).unbind(-3)
        means = x.unflatten(2, (3, wide)).unflatten(1, (3, high)).mean((2, 4)).flatten(1, 2)
        routes = torch.topk(means @ means.mT, 4).indices
        return routed_attention(q, k, v, routes, region=(high, wide), backend=self.backend).flatten(3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck looks at its own tensors
def test_opcheck(registered: str) -> None:
    q, k, v = (torch.randn(1, 4, 5, 2, 4, requires_grad=True) for _ in range(3))
    routes = torch.randint(0, 6, (1, 6, 2))
    op = getattr(torch.ops.visionattn, f"{registered}_routed").default
    torch.library.opcheck(op, (q, k, v, routes, 2, 2, 0.5))
    out, stats = (x.detach() for x in op(q, k, v, routes, 2, 2, 0.5))
    saved = [x.detach() for x in (q, k, v, routes)]
    backward = getattr(torch.ops.visionattn, f"{registered}_routed_backward").default
    torch.library.opcheck(backward, (torch.randn_like(out), *saved, out, stats, 2, 2, 0.5))
    qkv = torch.randn(1, 4, 5, 3, 2, 4, requires_grad=True)
    op = getattr(torch.ops.visionattn, f"{registered}_routed_packed").default
    torch.library.opcheck(op, (qkv, routes, 2, 2, 0.5))


@pytest.mark.parametrize("backend", ["reference", *HERE])
def test_packed_is_the_same_function(backend: str) -> None:
    """Regions are cut by the border, and the gradient of the one tensor is where autograd would put it."""
    choice, routes = available(backend), torch.randint(-1, 6, (2, 6, 3))
    qkv = torch.randn(2, 5, 7, 3, 2, 8, dtype=torch.float64, requires_grad=True)

    def results(out: Tensor) -> list[Tensor]:
        return [out, *torch.autograd.grad(out.square().sum(), qkv)]

    packed = routed_attention.packed(qkv, routes, region=(4, 3), backend=choice)
    apart = routed_attention(*qkv.unbind(3), routes, region=(4, 3), backend=choice)
    torch.testing.assert_close(results(packed), results(apart))
    with torch.autocast("cpu", torch.bfloat16):
        half = routed_attention.packed(qkv.detach().float(), routes, region=(4, 3), backend=choice)
    assert half.dtype == torch.bfloat16


def test_probabilities_times_values_are_the_output() -> None:
    q, k, v = (torch.randn(1, 4, 5, 2, 8) for _ in range(3))
    routes = torch.tensor([[[0, 3], [1, -1], [2, 2], [3, 1]]])
    rows = routed_attention.probabilities(q, k, routes, region=(2, 3))
    torch.testing.assert_close(
        torch.einsum("bnhwij,bijne->bhwne", rows, v), routed_attention(q, k, v, routes, region=(2, 3))
    )


@pytest.mark.parametrize(
    "choice", ["auto", *(pytest.param(x, marks=pytest.mark.heavy) for x in ("tiled", "traceable"))]
)
def test_compiles_and_exports_as_one_graph(choice: str) -> None:
    torch._dynamo.reset()
    module = Sparse(choice)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 6, 9, 16), (3, 8, 7, 16)):
        x = torch.randn(shape)
        ours, plain = compiled(x), module(x)
        torch.testing.assert_close(ours, plain)
        ours, plain = (torch.autograd.grad(y.square().sum(), list(module.parameters())) for y in (ours, plain))
        torch.testing.assert_close(ours, plain)
    sizes = dict.fromkeys((0, 1, 2), torch.export.Dim.AUTO)
    program = torch.export.export(module.eval(), (torch.randn(2, 6, 9, 16),), dynamic_shapes={"x": sizes})
    torch.testing.assert_close(program.module()(x), module(x))


def test_autocast_and_empty_batches(registered: str) -> None:
    q, k, v = (torch.randn(2, 4, 4, 2, 8, requires_grad=True) for _ in range(3))
    routes = torch.zeros(2, 4, 1, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        assert routed_attention(q, k, v, routes, region=2, backend=registered).dtype == torch.bfloat16
    out = routed_attention(q[:0], k[:0], v[:0], routes[:0], region=2, backend=registered)
    assert out.shape == (0, 4, 4, 2, 8)
    assert torch.autograd.grad(out.sum(), k)[0].abs().max() == 0


def test_flops_are_those_of_the_pairs(registered: str) -> None:
    q, k, v = (torch.randn(2, 4, 6, 3, width, requires_grad=True) for width in (8, 8, 4))
    with FlopCounterMode(display=False) as counter:
        routes = torch.zeros(2, 6, 2, dtype=torch.int64)
        routed_attention(q, k, v, routes, region=2, backend=registered).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (8 + 4) * 2 * 3 * 24 * 2 * 4
    with FlopCounterMode(display=False) as counter:
        qkv = torch.randn(2, 4, 6, 3, 3, 8, requires_grad=True)
        routed_attention.packed(qkv, routes, region=2, backend=registered).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (8 + 8) * 2 * 3 * 24 * 2 * 4


def test_what_was_computed_is_recorded() -> None:
    (q, k, v, grad), routes, region = drawn(3)
    with recorded((calls := []).append):
        out = routed_attention(q, k, v.requires_grad_(), routes, region=region)
    (call,) = calls
    rows = call.rows(torch.arange(call.num_queries))
    torch.testing.assert_close(rows.attend(v.flatten(1, 2)), out.flatten(1, 2))
    of_some = call.rows(torch.tensor([call.num_queries - 1]))
    torch.testing.assert_close(of_some.weights, rows.weights[:, :, -1:])
    weights = rows.weights.requires_grad_()
    (ours,) = torch.autograd.grad(
        torch.einsum("bnqs,bsne->bqne", weights, v.flatten(1, 2)), weights, grad.flatten(1, 2)
    )
    torch.testing.assert_close(call.gradient(rows, grad), ours)


def test_each_backend_says_why_it_refuses() -> None:
    q, routes = torch.randn(1, 4, 4, 2, 8), torch.zeros(1, 4, 1, dtype=torch.int64)
    reasons = routed_attention.explain(q, q, q, routes, region=2)
    assert reasons["tiled"] == reasons["traceable"] == reasons["reference"] == ""
    with pytest.raises(ValueError, match="no backend 'natten'"):
        routed_attention(q, q, q, routes, region=2, backend="natten")
    with pytest.raises(ValueError, match="routed_attention: clipped softmax has no backend"):
        routed_attention(q, q, q, routes, region=2, backend=clipped_softmax(ClippedProbabilities(-0.1)))


@pytest.mark.parametrize(
    ("shape", "entry", "region", "message"),
    [
        ((1, 4, 1), 0, 0, r"a region needs at least one row and one column, got \(0, 0\)"),
        ((1, 3, 1), 0, 2, r"\(1, 4, 'listed'\) for 2 x 2 regions of 2 x 2, got \(1, 3, 1\)"),
        ((2, 4, 1), 0, 2, r"\(1, 4, 'listed'\) for 2 x 2 regions"),
        ((1, 4, 0), 0, 2, "at least one region"),
        ((1, 4, 1), 4, 2, "regions 0 to 3, got 4 to 4"),
        ((1, 4, 1), -2, 2, "regions 0 to 3, got -2 to -2"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(
    shape, entry: int, region: int, message: str, monkeypatch
) -> None:
    monkeypatch.undo()  # the operator's own messages, before those of the shapes
    q, routes = torch.randn(1, 4, 3, 2, 8), torch.full(shape, entry)
    with pytest.raises(ValueError, match=message):
        routed_attention(q, q, q, routes, region=region)
    with pytest.raises(TypeError, match="int64"):
        routed_attention(q, q, q, torch.zeros(1, 4, 1, dtype=torch.int32), region=2)
