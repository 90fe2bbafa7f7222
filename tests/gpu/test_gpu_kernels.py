"""The Triton kernels on a device: errors, equal bits, registration, compilation, large batches."""

from dataclasses import replace

import pytest
import torch
from torch.library import opcheck

from tests.gpu.gpu_shapes import NAMED, draw, make
from visionattn.benchmarks.kernels import compare
from visionattn.kernels import neighborhood_attention, window_attention
from visionattn.kernels.backends.triton import attend, refuses
from visionattn.kernels.custom_op import signed
from visionattn.kernels.signature import Layout, Wanted

RANDOM = 24


def assert_fine(call) -> None:
    reason = refuses(call.q, call.k, call.v, call.bias, call.geometry, call.scale)
    assert reason == ""
    errors = compare(call, attend)
    assert {name: error for name, error in errors.items() if not error.is_fine} == {}


def gradients(call) -> list[torch.Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v, call.bias)]
    out = attend(*leaves, call.geometry, call.scale)
    return [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMED)
def test_error_at_most_twice_plain_code(cuda, name, dtype):
    assert_fine(make(*NAMED[name], dtype, cuda))


@pytest.mark.parametrize("name", ["swin shifted", "several blocks", "dilated"])
def test_half_precision(cuda, name):
    assert_fine(make(*NAMED[name], torch.float16, cuda))


@pytest.mark.parametrize("scale", [-0.5, 0.0])
@pytest.mark.parametrize("name", ["swin", "nat"])
def test_scales_that_are_not_positive(cuda, name, scale):
    assert_fine(replace(make(*NAMED[name], torch.bfloat16, cuda), scale=scale))


@pytest.mark.parametrize("name", ["swin", "strips", "nat", "many tiles", "window 24"])
def test_without_a_bias(cuda, name):
    assert_fine(make(*NAMED[name], torch.bfloat16, cuda, biased=False))


@pytest.mark.parametrize("seed", range(RANDOM))
def test_random_shapes(cuda, seed):
    torch.manual_seed(seed)
    assert_fine(make(*draw(seed), (torch.float32, torch.bfloat16)[seed % 2], cuda, biased=seed % 3 > 0))


@pytest.mark.parametrize(
    "name", ["swin shifted", "several blocks", "grid", "nat", "dilated", "window 24", "many tiles"]
)
def test_two_runs_give_equal_bits(cuda, name):
    shape, arguments = NAMED[name]
    call = make((16, *shape[1:]), arguments, torch.bfloat16, cuda)
    first = gradients(call)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(call), strict=True))


@pytest.mark.parametrize("name", ["swin shifted", "nat"])
def test_registered(cuda, name):
    call = make(*NAMED[name], torch.float32, cuda)
    leaves = [t.detach().clone().requires_grad_() for t in (call.q, call.k, call.v, call.bias)]
    opcheck(
        torch.ops.visionattn.triton.default,
        (*leaves, call.geometry.rows.encode(), call.geometry.cols.encode(), call.scale),
    )


@pytest.mark.parametrize("op", [window_attention, neighborhood_attention], ids=lambda op: op.name)
def test_compiles_as_one_graph(cuda, op):
    geometry = {"window": 7, "shift": 3} if op is window_attention else {"kernel_size": 7, "dilation": 2}

    def loss(q, k, v, bias):
        return op(q, k, v, bias=bias, backend="triton", **geometry).square().sum()

    maps = [torch.randn(2, 14, 14, 2, 32, device=cuda, requires_grad=True) for _ in range(3)]
    bias = torch.randn(2, 13, 13, device=cuda, requires_grad=True)
    expected = torch.autograd.grad(loss(*maps, bias), (*maps, bias))
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(*maps, bias), (*maps, bias))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b)


def test_auto_takes_triton_and_autocast_halves_the_maps(cuda):
    x = torch.randn(1, 14, 14, 2, 32, device=cuda)
    assert window_attention.explain(x, x, x, window=7)["triton"] == ""
    with torch.autocast("cuda", torch.bfloat16):
        assert window_attention(x, x, x, window=7).dtype == torch.bfloat16


def test_batches_beyond_32_bits(cuda):
    """The last image of a batch of more than 2**31 values equals the same image alone."""
    x = torch.zeros(1400, 56, 56, 8, 64, device=cuda, dtype=torch.bfloat16)
    assert x.numel() > 2**31
    x[-1].normal_()
    with torch.no_grad():
        whole = neighborhood_attention(x, x, x, kernel_size=7, backend="triton")[-1:]
        alone = neighborhood_attention(*[x[-1:].clone()] * 3, kernel_size=7, backend="triton")
    assert torch.equal(whole, alone)


@pytest.mark.parametrize("name", ["nat", "many tiles", "dilated"])
def test_walking_backwards_are_those_of_tiles(cuda, name):
    """Every plan that walks gives the gradients of the default plan, up to rounding, and the same bits twice."""
    from visionattn.kernels.backends.triton import launch
    from visionattn.kernels.backends.triton.plan import candidates
    from visionattn.kernels.backends.triton.problem import problem

    call = make(*NAMED[name], torch.bfloat16, cuda)
    maps = call.q, call.k, call.v
    signature = signed(*maps, call.bias, call.geometry, call.scale)
    into = [tuple(torch.empty(x.shape, device=cuda, dtype=x.dtype) for x in maps) for _ in range(3)]
    wanted = Wanted(tuple(Layout.of(x) for x in into[0]), maps=True, table=True)
    out, lse = launch.forward(signature)(*maps, call.bias)
    arguments = torch.randn_like(out), *maps, call.bias, out, lse
    expected = [*into[0], launch.backward(signature, wanted)(*arguments, into[0])]
    base = problem(signature)
    plans = [plan for plan in candidates(base.y, base.x, 2, 32, 99 * 1024) if plan.query_walk or plan.key_walk]
    assert plans
    for plan in plans:
        run = launch.backward(signature, wanted, plan)
        first, again = ([*kept, run(*arguments, kept)] for kept in into[1:])
        for found, repeated, other in zip(first, again, expected, strict=True):
            assert torch.equal(found, repeated)
            error = (found.float() - other.float()).abs().max()
            assert error <= 0.02 * other.float().abs().max(), plan
