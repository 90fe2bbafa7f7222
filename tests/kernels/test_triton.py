"""The Triton kernels in Triton's interpreter, on the CPU: values, gradients, equal bits, registration, refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from visionattn.kernels import window_attention

sys.path.insert(0, str(Path(__file__).parent))
from triton_cases import ACCURACY, CHECKS

pytest.importorskip("triton", reason="the package triton is not installed")


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[str]]:
    script = Path(__file__).with_name("triton_cases.py")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-W", "error", str(script)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", ACCURACY)
def test_error_at_most_twice_plain_code(interpreted, name):
    assert interpreted[name] == []


@pytest.mark.parametrize("name", CHECKS)
def test_check(interpreted, name):
    assert interpreted[name] == []


def test_refuses_the_cpu_without_the_interpreter():
    x = torch.zeros(1, 4, 4, 1, 16)
    assert "cpu" in window_attention.explain(x, x, x, window=2)["triton"]
    with pytest.raises(ValueError, match="CUDA devices"):
        window_attention(x, x, x, window=2, backend="triton")
