"""``selective_scan``: every backend against the recurrence token by token, and what it refuses."""

import pytest
import torch
from torch import Tensor

from tests.kernels.scan_cases import drawn, results, token_by_token
from tests.shapes import checked_shapes  # noqa: F401
from visionattn.kernels import selective_scan
from visionattn.kernels.backends.order import SCAN
from visionattn.kernels.scan import explain_selective_scan, scan_backends

PLAIN = ["reference", "traceable"]
HERE = [backend.name for backend in SCAN]


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_forms_equal_the_recurrence_token_by_token(name: str, seed: int) -> None:
    *inputs, grad = (t.requires_grad_() for t in drawn(seed, 6))
    ours, plain = selective_scan(*inputs, backend=name), token_by_token(*inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-12)
    found = (torch.autograd.grad(y, inputs, grad) for y in (ours, plain))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


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
    reasons = explain_selective_scan(*call)
    assert tuple(reasons) == scan_backends()
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
def test_shapes_that_do_not_fit_are_refused_with_the_numbers(at: int, shape: tuple[int, ...], message: str) -> None:
    shapes = [(2, 3, 4, 8), (2, 3, 4, 2, 8), (2, 8, 1), (2, 3, 4, 2, 1), (2, 3, 4, 2, 1)]
    tensors = [torch.randn(shape if i == at else of) for i, of in enumerate(shapes)]
    with pytest.raises(ValueError, match=message):
        selective_scan(*tensors)
    fitting = [torch.randn(of) for of in shapes]
    with pytest.raises(TypeError, match="one floating type"):
        selective_scan(fitting[0].double(), *fitting[1:])
