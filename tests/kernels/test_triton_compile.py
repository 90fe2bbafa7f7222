"""The tiled Triton kernels through Triton's own compiler down to machine code, which needs no GPU."""

from dataclasses import replace

import pytest
import torch

from visionattn.kernels.geometry import neighborhood_geometry, window_geometry

pytest.importorskip("triton", reason="the package triton is not installed")
from tests.kernels.triton_compiling import Taken, compile_instead, run_packed
from visionattn.kernels.backends.triton import problem

MOST_SHARED_MEMORY = 99 * 1024
KERNELS = ("picture", "forward", "query_gradient", "key_gradient", "table_gradient")
BF16, FP32 = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("capability", "geometry", "shape", "dtype", "biased"),
    [
        (90, neighborhood_geometry(56, 56, 7, 1, 1), (64, 56, 56, 2, 32), BF16, True),
        (80, neighborhood_geometry(15, 15, 7, 2, 1), (1, 15, 15, 1, 128), BF16, False),
    ],
    ids=["NAT on sm_90", "dilated, wide heads, no bias on sm_80"],
)
def test_compiles_without_spilling(monkeypatch, capability, geometry, shape, dtype, biased):
    check(monkeypatch, capability, geometry, shape, dtype, biased)


@pytest.mark.heavy
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize(
    ("geometry", "depth", "dtype"),
    [
        (neighborhood_geometry(57, 57, 7, 8, 1), 32, BF16),
        (neighborhood_geometry(57, 57, (7, 6), 2, (3, 1)), 40, FP32),
        (neighborhood_geometry(57, 57, 7, 1, 1), 128, FP32),
        (neighborhood_geometry(57, 57, 40, 1, 1), 128, BF16),
        (window_geometry(57, 57, 12, 6, 1), 64, BF16),
        (window_geometry(57, 57, 48, 0, 1), 96, BF16),
        (window_geometry(57, 57, 24, 0, 1), 49, BF16),
    ],
    ids=["dilated", "strided", "wide heads", "large kernel", "window 12", "window 48", "odd heads"],
)
def test_every_kernel_compiles_without_spilling(monkeypatch, capability, geometry, depth, dtype):
    spilled = 24 if (capability, dtype, depth) == (80, FP32, 40) else 0
    check(monkeypatch, capability, geometry, (2, 57, 57, 3, depth), dtype, True, spilled)


@pytest.mark.heavy
@pytest.mark.parametrize("window", [(1, 112), (112, 1)])
def test_strips_with_a_decay_compile_without_spilling(monkeypatch, window):
    geometry = replace(window_geometry(112, 112, window, 0, 1), decay=3)
    check(monkeypatch, 90, geometry, (2, 112, 112, 4, 16 + 3), BF16, False)


@pytest.mark.heavy
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("window", [(1, 56), (56, 1)])
def test_strips_of_one_block_with_a_decay_compile_without_spilling(monkeypatch, window, capability):
    found = compile_instead(monkeypatch, capability)
    geometry = replace(window_geometry(56, 56, window, 0, 1), decay=3)
    run_packed(geometry, (2, 56, 56, 4, 16 + 3), BF16, False)
    assert set(found) == {"window_forward_kernel", "window_backward_kernel"}
    assert all(taken.shared <= MOST_SHARED_MEMORY and taken.stack == 0 for taken in found.values()), found


def check(monkeypatch, capability, geometry, shape, dtype, biased, spilled=0) -> None:
    found: dict[str, Taken] = compile_instead(monkeypatch, capability)
    monkeypatch.setattr(problem, "has_warpgroups", lambda device: capability >= 90)
    run_packed(geometry, shape, dtype, biased)
    wanted = KERNELS if biased else KERNELS[1:-1]
    assert sorted(found) == sorted(f"{name}_kernel" for name in wanted)
    assert all(taken.shared <= MOST_SHARED_MEMORY and taken.stack <= spilled for taken in found.values()), found
