"""The Triton kernels for windows that fit one block, compiled: registers, shared memory, loads ahead."""

import pytest
import torch

from visionattn.kernels.geometry import window_geometry

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import Taken, compile_instead
from visionattn.kernels.backends.triton import launch

MOST_SHARED_MEMORY = 99 * 1024


def run(geometry, shape, dtype=torch.bfloat16, biased=True) -> None:
    """Forward and backward of the packed form."""
    batch, height, width, heads, depth = shape
    qkv = torch.empty(batch, height, width, 3, heads, depth, dtype=dtype)
    bias = torch.empty(heads, *geometry.table_shape) if biased else None
    inputs, rule = (*qkv.unbind(3), bias), (geometry, 0.25)
    out, lse = launch.forward(*inputs, *rule)
    launch.backward(out, *inputs, out, lse, *rule, torch.empty_like(qkv).unbind(3))


def assert_fits(taken: dict[str, Taken], stack: int = 0) -> None:
    assert {"window_forward_kernel", "window_backward_kernel"} <= set(taken)
    assert all(kernel.shared <= MOST_SHARED_MEMORY and kernel.stack <= stack for kernel in taken.values()), taken


@pytest.mark.parametrize(("capability", "stack"), [(80, 64), (90, 0)])
def test_swin_spills_nothing_and_loads_ahead(monkeypatch, capability, stack):
    """On sm_80 a few registers are spilled before the loop over windows and read after it."""
    taken = compile_instead(monkeypatch, capability)
    run(window_geometry(14, 14, 7, 3, 1), (2, 14, 14, 3, 32))
    assert_fits(taken, stack)
    assert "table_sum_kernel" in taken
    assert taken["window_forward_kernel"].copies >= 3 * 3, "q, k and v are not loaded ahead"
    assert taken["window_backward_kernel"].copies >= 4 * 3, "q, k, v and the gradient are not loaded ahead"
