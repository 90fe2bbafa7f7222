"""The Triton kernels of ``routed_attention``: in the interpreter, and through the compiler down to machine code."""

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import compile_instead
from tests.kernels.triton_interpreting import run_interpreted
from visionattn.kernels.backends.triton import routed_launch

MOST_SHARED_MEMORY = 99 * 1024


@pytest.mark.floor
def test_values_gradients_and_bits_in_the_interpreter():
    results = run_interpreted(name="triton_routed_cases.py")
    assert len(results) == 5
    assert {name: wrong for name, wrong in results.items() if wrong} == {}


@pytest.mark.heavy
def test_random_shapes_in_the_interpreter():
    results = run_interpreted("60", name="triton_routed_cases.py")
    assert {name: wrong for name, wrong in results.items() if wrong} == {}


HEAVY = ((80, 128, torch.float32), (80, 128, torch.bfloat16), (100, 32, torch.float16), (90, 24, torch.float32))


@pytest.mark.parametrize(
    ("capability", "depth", "dtype"),
    [(90, 32, torch.bfloat16), *(pytest.param(*case, marks=pytest.mark.heavy) for case in HEAVY)],
)
def test_every_kernel_compiles_without_spilling(monkeypatch, capability, depth, dtype):
    found = compile_instead(monkeypatch, capability)
    q = torch.zeros(1, 28, 28, 4, depth, dtype=dtype)
    routes = torch.zeros(1, 49, 4, dtype=torch.int64)
    out, lse = routed_launch.forward(q, q, q, routes, (4, 4), 0.1)
    routed_launch.backward(q, q, q, q, routes, out, lse, (4, 4), 0.1, [torch.zeros_like(q) for _ in range(3)])
    assert set(found) == {f"routed_{name}_kernel" for name in ("forward", "query", "key")}
    assert max(taken.stack for taken in found.values()) == 0
    assert max(taken.shared for taken in found.values()) <= MOST_SHARED_MEMORY
