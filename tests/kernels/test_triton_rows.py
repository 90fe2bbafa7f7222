"""The Triton kernels of norms and of GELU's gradient in the interpreter and through the compiler."""

import pytest
import torch
from torch import nn

from visionattn.kernels.backends.triton import rows

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import compile_instead
from tests.kernels.triton_interpreting import run_interpreted

SCRIPT = "triton_rows_cases.py"


def test_in_the_interpreter() -> None:
    names = "norm", "gelu", "batch_norm"
    assert run_interpreted(*names, name=SCRIPT) == {name: [] for name in names}


@pytest.mark.heavy
def test_more_in_the_interpreter() -> None:
    names = "half", "half_batch_norm", "repeats", "second", "frozen", "compiled", "registered"
    assert run_interpreted(*names, name=SCRIPT) == {name: [] for name in names}


@pytest.mark.parametrize(
    ("capability", "channels", "dtype"),
    [
        (90, 96, torch.bfloat16),
        *(
            pytest.param(capability, channels, dtype, marks=pytest.mark.heavy)
            for capability in (80, 90, 100)
            for channels in (96, 768, 4096)
            for dtype in (torch.bfloat16, torch.float32)
        ),
    ],
)
def test_compiles_and_spills_two_numbers_at_most(monkeypatch, capability, channels, dtype) -> None:
    from visionattn.kernels.backends.triton import batch_norm_launch, rows_launch

    found = compile_instead(monkeypatch, capability)
    x, weight = torch.empty(64, 50, channels, dtype=dtype, device="meta"), torch.empty(channels, device="meta")
    out, mean, rstd = rows_launch.norm_forward(x, weight, weight, 1e-5)
    rows_launch.norm_backward(out, x, x, weight, mean, rstd)
    rows_launch.gelu_backward(out, x, "none")
    maps = (t.view(8, 8, 50, channels).permute(0, 3, 1, 2) for t in (out, x))
    batch_norm_launch.backward(*maps, *(weight,) * 4, "tanh")
    batch = "batch_norm_input_kernel", "batch_norm_sums_kernel"
    assert sorted(found) == [*batch, "gelu_backward_kernel", "norm_backward_kernel", "norm_kernel"]
    assert all(taken.stack <= 8 for taken in found.values()), found


def test_the_cpu_keeps_its_own() -> None:
    x, weight = torch.randn(3, 8), torch.ones(8, requires_grad=True)
    assert not rows.norms(x, weight, weight)
    assert not rows.takes_bias(x, weight)
    assert not rows.batch_norms(nn.BatchNorm2d(8), x[..., None, None])
