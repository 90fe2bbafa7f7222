"""The Triton kernels of depthwise convolutions in the interpreter and through the compiler: neither needs a GPU."""

import pytest
import torch
from torch import nn

from visionattn.kernels.depthwise import on_map

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import compile_instead
from tests.kernels.triton_interpreting import run_interpreted

SCRIPT = "triton_depthwise_cases.py"


def test_in_the_interpreter() -> None:
    assert run_interpreted("added", "mixed", name=SCRIPT) == {"added": [], "mixed": []}


@pytest.mark.heavy
def test_more_in_the_interpreter() -> None:
    names = "same", "strided", "half", "repeats", "second", "registered"
    assert run_interpreted(*names, name=SCRIPT) == {name: [] for name in names}


@pytest.mark.parametrize(
    ("capability", "stride", "dtype"),
    [
        (90, 1, torch.float32),
        pytest.param(90, 2, torch.bfloat16, marks=pytest.mark.heavy),
        pytest.param(80, 1, torch.bfloat16, marks=pytest.mark.heavy),
        pytest.param(100, 1, torch.bfloat16, marks=pytest.mark.heavy),
    ],
)
def test_compiles_without_spilling(monkeypatch, capability, stride, dtype) -> None:
    from visionattn.kernels.backends.triton import depthwise_launch

    found = compile_instead(monkeypatch, capability)
    x, weight = torch.empty(4, 96, 56, 56, dtype=dtype, device="meta"), torch.empty(96, 1, 3, 3, device="meta")
    side, add = 56 // stride, stride == 1
    rule = (stride % 2, stride % 2), (side, side), stride, add
    out = depthwise_launch.forward(x, weight, weight[:, 0, 0, 0].contiguous(), *rule, dtype)
    depthwise_launch.backward(torch.empty_like(out), x, weight, *rule, True, True)
    assert sorted(found) == ["depthwise_input_kernel", "depthwise_kernel", "depthwise_weight_kernel"]
    assert all(taken.stack == 0 for taken in found.values()), found


def test_the_cpu_keeps_torchs_convolution() -> None:
    layer, x = nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.randn(2, 5, 6, 8)
    expected = x + layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert torch.equal(on_map(layer, x, add=True), expected)
