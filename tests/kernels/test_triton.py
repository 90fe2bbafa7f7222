"""The Triton kernels in Triton's interpreter, on the CPU: values, gradients, equal bits, registration, refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.kernels.triton_cases import ACCURACY, CHECKS
from visionattn.kernels import window_attention

pytest.importorskip("triton", reason="the package triton is not installed")


def run_interpreted(*arguments: str, name: str = "triton_cases.py") -> dict[str, list[str]]:
    script = Path(__file__).with_name(name)
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    old_interpreter = "ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"  # Triton 3.6
    command = [sys.executable, "-W", "error", "-W", old_interpreter, str(script), *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[str]]:
    return run_interpreted()


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
    results = run_interpreted("60")
    assert len(results) == 60
    assert {name: wrong for name, wrong in results.items() if wrong} == {}


def test_refuses_old_devices(monkeypatch):
    from visionattn.kernels.backends.triton import ops

    class OnCuda:
        """As much of a CUDA tensor as a refusal asks for."""

        is_cuda, device, dtype, shape = True, torch.device("cuda", 1), torch.float16, (1, 4, 4, 1, 16)

        def stride(self, axis):
            return 64

    monkeypatch.setattr(ops, "OLD_DEVICES", {1: "Tesla T4 has 7.5"})
    assert "8.0 or newer, and Tesla T4 has 7.5" in ops.refuses(OnCuda(), OnCuda(), OnCuda(), interpreted=False)
    monkeypatch.setattr(ops, "OLD_DEVICES", {0: "Tesla T4 has 7.5"})
    assert ops.refuses(OnCuda(), OnCuda(), OnCuda(), interpreted=False) == ""
