"""The Triton kernels of ``selective_scan`` in the interpreter and through the compiler: neither needs a GPU."""

import pytest
import torch

from tests.kernels.scan_cases import drawn
from visionattn.kernels import selective_scan

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import compile_instead
from tests.kernels.triton_interpreting import run_interpreted

SCRIPT = "triton_scan_cases.py"
MOST_SHARED_MEMORY = 48 * 1024


def test_in_the_interpreter() -> None:
    assert run_interpreted("right", "empty", name=SCRIPT) == {"right": [], "empty": []}


@pytest.mark.heavy
def test_more_in_the_interpreter() -> None:
    names = "all right", "half", "repeats", "registered"
    assert run_interpreted(*names, name=SCRIPT) == {name: [] for name in names}


@pytest.mark.parametrize(
    ("capability", "channels", "states", "dtype"),
    [
        (90, 96, 1, torch.bfloat16),
        pytest.param(80, 96, 1, torch.float32, marks=pytest.mark.heavy),
        pytest.param(90, 33, 16, torch.float32, marks=pytest.mark.heavy),
        pytest.param(100, 432, 1, torch.bfloat16, marks=pytest.mark.heavy),
    ],
)
def test_compiles_and_spills_two_numbers_at_most(monkeypatch, capability, channels, states, dtype) -> None:
    from visionattn.kernels.backends.triton import scan_launch

    found = compile_instead(monkeypatch, capability)
    shapes = [(4, 56, 56, channels), (4, 56, 56, 4, channels), *[(4, 56, 56, 4, states)] * 2]
    x, delta, b, c = (torch.empty(shape, dtype=dtype, device="meta") for shape in shapes)
    a = torch.empty(4, channels, states, device="meta")
    out, kept = scan_launch.forward(x, delta, a, b, c)
    scan_launch.backward(torch.empty_like(out), x, delta, a, b, c, kept)
    assert sorted(found) == ["scan_backward_kernel", "scan_forward_kernel"]
    assert all(taken.shared <= MOST_SHARED_MEMORY and taken.stack <= 8 for taken in found.values()), found


def test_refuses_the_cpu_without_the_interpreter() -> None:
    call = drawn(0)[:-1]
    assert "cpu" in selective_scan.explain(*call)["triton"]
    with pytest.raises(ValueError, match="CUDA devices"):
        selective_scan(*call, backend="triton")
