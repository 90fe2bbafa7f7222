"""The Triton kernels in Triton's interpreter, on the CPU: values, gradients, equal bits, registration, refusals."""

import pytest
import torch

from tests.kernels.triton_cases import ACCURACY, CHECKS
from tests.kernels.triton_interpreting import run_interpreted
from visionattn.kernels import window_attention

pytest.importorskip("triton", reason="the package triton is not installed")


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[str]]:
    return run_interpreted(name="triton_cases.py")


@pytest.mark.floor
@pytest.mark.parametrize("name", ACCURACY)
def test_error_at_most_twice_plain_code(interpreted, name):
    assert interpreted[name] == []


@pytest.mark.floor
@pytest.mark.parametrize("name", CHECKS)
def test_check(interpreted, name):
    assert interpreted[name] == []


def test_refuses_the_cpu_without_the_interpreter():
    x = torch.zeros(1, 4, 4, 1, 16)
    assert "cpu" in window_attention.explain(x, x, x, window=2)["triton"]
    with pytest.raises(ValueError, match="CUDA devices"):
        window_attention(x, x, x, window=2, backend="triton")


@pytest.mark.heavy
def test_random_shapes():
    results = run_interpreted("60", name="triton_cases.py")
    assert len(results) == 60
    assert {name: wrong for name, wrong in results.items() if wrong} == {}
