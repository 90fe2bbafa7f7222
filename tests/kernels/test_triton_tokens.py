"""The Triton kernels of ``token_attention``: in the interpreter, and through the compiler down to machine code."""

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import compile_instead
from tests.kernels.triton_interpreting import run_interpreted
from tests.kernels.triton_token_cases import CASES
from visionattn.kernels import token_attention
from visionattn.kernels.backends.triton import token_launch

MOST_SHARED_MEMORY = 99 * 1024


@pytest.mark.floor
def test_values_gradients_and_bits_in_the_interpreter():
    assert run_interpreted(name="triton_token_cases.py") == {name: [] for name in (*CASES, "no image", "refusals")}


HEAVY = ((80, 128, torch.float32), (80, 128, torch.bfloat16), (100, 32, torch.float16), (90, 24, torch.float32))


@pytest.mark.parametrize(
    ("capability", "depth", "dtype"),
    [(90, 32, torch.bfloat16), *(pytest.param(*case, marks=pytest.mark.heavy) for case in HEAVY)],
)
@pytest.mark.parametrize(
    "sizes", [(784, 49), *(pytest.param(of, marks=pytest.mark.heavy) for of in ((49, 784), (53, 53)))]
)
def test_every_kernel_compiles_and_hardly_spills(monkeypatch, capability, depth, dtype, sizes):
    """On sm_100 the forward and the sums of the bias spill up to 48 bytes of a thread, nothing elsewhere."""
    found = compile_instead(monkeypatch, capability)
    token_launch._built.cache_clear()
    q, k = (torch.zeros(2, size, 3, depth, dtype=dtype) for size in sizes)
    bias = torch.zeros(3, *sizes)
    out, lse = token_launch.forward(q, k, k, bias, 0.1)
    token_launch.backward(q, q, k, k, bias, out, lse, 0.1, True)
    token_launch._built.cache_clear()
    assert set(found) == {f"token_{name}_kernel" for name in ("forward", "query", "key", "bias")}
    assert max(taken.stack for taken in found.values()) <= (48 if capability == 100 else 0), found
    assert max(taken.shared for taken in found.values()) <= MOST_SHARED_MEMORY, found


def test_a_card_is_needed_without_the_interpreter():
    q = torch.zeros(1, 4, 1, 16)
    assert "CUDA devices" in token_attention.explain(q, q, q)["triton"]
