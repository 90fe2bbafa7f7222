"""Values and gradients of the fast backends against the dense reference, on random shapes."""

import pytest
import torch

from tests.kernels.attention_cases import Case, assert_same, random_case
from tests.kernels.compiler import available
from tests.shapes import checked_shapes  # noqa: F401
from visionattn.kernels import neighborhood_attention, window_attention

SAMPLE = range(40)
SWEEP = range(1000, 2000)


@pytest.mark.parametrize("seed", SAMPLE)
def test_equals_the_reference_in_float64(backend: str, seed: int) -> None:
    assert_same(random_case(seed), backend)


@pytest.mark.heavy
def test_equals_the_reference_on_a_thousand_shapes(backend: str) -> None:
    for seed in SWEEP:
        assert_same(random_case(seed), backend)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("seed", [3, 4, 7, 11])
def test_error_is_at_most_twice_that_of_plain_code(backend: str, seed: int, dtype: torch.dtype) -> None:
    """The reference in the same type is the plain code; the truth is the reference in float64 on the rounded inputs."""
    case = random_case(seed)
    rounded = type(case)(case.op, case.options, tuple(x.to(dtype).double() for x in case.inputs), case.grad.to(dtype))
    truth, plain, ours = rounded.run("reference"), rounded.run("reference", dtype), rounded.run(backend, dtype)
    unit = torch.finfo(dtype).eps
    for name, t, p, o in zip(("out", "dq", "dk", "dv", "dbias"), truth, plain, ours, strict=False):
        allowed = 2 * float((p.double() - t).abs().max()) + unit * float(t.abs().max())
        assert float((o.double() - t).abs().max()) <= allowed, f"{name} of {case}"


@pytest.mark.parametrize("widths", [(32, 32), (20, 33), (48, 7), (1, 64)], ids=str)
@pytest.mark.parametrize("window", [5, 7, 9, 14])
def test_windows_of_cpp_in_bfloat16_err_at_most_twice_as_much(window: int, widths: tuple[int, int]) -> None:
    """One and several blocks of queries, windows whose keys are left at once and not, any width of heads."""
    q, k, v, grad = (torch.randn(1, 14, 15, 2, width) for width in (widths[0], *widths, widths[1]))
    table = torch.randn(2, 2 * window - 1, 2 * window - 1)
    inputs = tuple(x.bfloat16().double() for x in (q, k, v, table))
    case = Case(window_attention, {"window": window, "shift": window // 3}, inputs, grad.bfloat16())
    truth, plain = case.run("reference"), case.run("reference", torch.bfloat16)
    ours = case.run(available("cpp"), torch.bfloat16)
    for t, p, o in zip(truth, plain, ours, strict=True):
        allowed = 2 * float((p.double() - t).abs().max()) + torch.finfo(torch.bfloat16).eps * float(t.abs().max())
        assert float((o.double() - t).abs().max()) <= allowed


def test_the_random_cases_reach_what_they_should() -> None:
    """The sample holds both ops, with and without a bias, kernels as large as the map, and uneven dilation groups."""
    cases = [random_case(seed) for seed in SAMPLE]
    neighborhoods = [case for case in cases if "kernel_size" in case.options]
    assert 10 <= len(neighborhoods) <= 30
    assert {len(case.inputs) for case in cases} == {3, 4}
    assert any(case.options["kernel_size"][0] == case.inputs[0].shape[1] for case in neighborhoods)
    assert any(case.inputs[0].shape[1] % case.options["dilation"][0] for case in neighborhoods)
    assert any(max(case.options["stride"]) > 1 for case in neighborhoods)
    assert any(any(case.options["shift"]) for case in cases if "shift" in case.options)


@pytest.mark.parametrize("op", ["window", "neighborhood"])
def test_error_in_float32_at_real_sizes(backend: str, op: str) -> None:
    """Seven by seven, heads of 32: the root mean square error is within 1.8 of plain float32's for every result."""
    normal = [torch.randn(1, 21, 21, 2, 32).double() for _ in range(4)]
    table = torch.randn(2, 13, 13).double()
    chosen, options = (
        (window_attention, {"window": 7, "shift": 3})
        if op == "window"
        else (neighborhood_attention, {"kernel_size": 7})
    )
    case = Case(chosen, options, (*normal[:3], table), normal[3])
    truth, plain, ours = case.run("reference"), case.run("reference", torch.float32), case.run(backend, torch.float32)
    for t, p, o in zip(truth, plain, ours, strict=True):
        assert float((o.double() - t).norm()) <= 1.8 * float((p.double() - t).norm())
