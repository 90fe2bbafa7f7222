"""The Triton kernels for windows that fit one block, compiled: registers, shared memory, loads ahead."""

import pytest

from visionattn.kernels.geometry import window_geometry

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import Taken, compile_instead, run_packed

MOST_SHARED_MEMORY = 99 * 1024


def assert_fits(taken: dict[str, Taken], stack: int = 0) -> None:
    assert {"window_forward_kernel", "window_backward_kernel"} <= set(taken)
    assert all(kernel.shared <= MOST_SHARED_MEMORY and kernel.stack <= stack for kernel in taken.values()), taken


@pytest.mark.parametrize(("capability", "stack"), [(80, 64), (90, 0)])
def test_swin_spills_nothing_and_loads_ahead(monkeypatch, capability, stack):
    """On sm_80 a few registers are spilled before the loop over windows and read after it."""
    taken = compile_instead(monkeypatch, capability)
    run_packed(window_geometry(14, 14, 7, 3, 1), (2, 14, 14, 3, 32))
    assert_fits(taken, stack)
    assert "table_sum_kernel" in taken
    assert taken["window_forward_kernel"].copies >= 3 * 3, "q, k and v are not loaded ahead"
    assert taken["window_backward_kernel"].copies >= 4 * 3, "q, k, v and the gradient are not loaded ahead"
