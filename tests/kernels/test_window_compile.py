"""The Triton kernels for windows that fit one block, compiled: registers, shared memory, loads ahead."""

import pytest
import torch

from visionattn.kernels.geometry import window_geometry

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import Taken, compile_instead, run_packed

MOST_SHARED_MEMORY = 99 * 1024


def assert_fits(taken: dict[str, Taken], stack: int = 0) -> None:
    assert {"window_forward_kernel", "window_backward_kernel"} <= set(taken)
    assert all(kernel.shared <= MOST_SHARED_MEMORY and kernel.stack <= stack for kernel in taken.values()), taken


@pytest.mark.parametrize("capability", [80, 90])
def test_swin_spills_nothing_and_loads_ahead(monkeypatch, capability):
    taken = compile_instead(monkeypatch, capability)
    run_packed(window_geometry(14, 14, 7, 3, 1), (2, 14, 14, 3, 32))
    assert_fits(taken)
    assert "table_sum_kernel" in taken
    assert taken["window_forward_kernel"].copies >= 3 * 3, "q, k and v are not loaded ahead"
    assert taken["window_backward_kernel"].copies >= 4 * 3, "q, k, v and the gradient are not loaded ahead"


def test_strips_without_a_bias_spill_nothing_at_98_points(monkeypatch):
    taken = compile_instead(monkeypatch, 90)
    run_packed(window_geometry(14, 14, (14, 7), 0, 1), (2, 14, 14, 2, 32), biased=False)
    assert_fits(taken)


@pytest.mark.heavy
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("size", "window", "depth", "dtype"),
    [
        ((57, 60), 7, 32, torch.bfloat16),
        ((56, 56), 7, 32, torch.float32),
        ((56, 56), 7, 64, torch.float16),
        ((56, 56), 7, 128, torch.bfloat16),
        ((56, 56), 8, 16, torch.float16),
        ((20, 20), 4, 32, torch.bfloat16),
        ((20, 20), 5, 24, torch.bfloat16),
    ],
    ids=["cut at the border", "float32", "64 channels", "128 channels", "8 x 8", "4 x 4", "24 channels"],
)
def test_other_windows_spill_little(monkeypatch, capability, size, window, depth, dtype):
    taken = compile_instead(monkeypatch, capability)
    run_packed(window_geometry(*size, window, window // 2, 1), (2, *size, 3, depth), dtype)
    assert_fits(taken, stack=256)
