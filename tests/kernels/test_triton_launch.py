"""A launch with kept arguments against Triton's own launch, through Triton's code down to the driver."""

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is not installed")
import triton
import triton.language as tl

from tests.kernels import triton_driver
from visionattn.kernels.backends.triton.axis import Axis
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.problem import problem
from visionattn.kernels.custom_op import signed
from visionattn.kernels.geometry import neighborhood_geometry


@triton.jit
def scaled_kernel(x_ptr, y_ptr, size, stride, one, factor, BLOCK: tl.constexpr, FLAG: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x_ptr + index * stride * one, mask=index < size, other=0.0)
    tl.store(y_ptr + index, value * factor if FLAG else value, mask=index < size)


METADATA = 6
"""Where a launch has what it tells a profiler, before the hooks."""
NUMBERS, CONSTANTS = (
    (80, 3, 1, 0.5),
    {"FLAG": True, "BLOCK": 64, "num_warps": 2, "num_stages": 1, "enable_fp_fusion": True},
)


def plain(arguments: tuple) -> list:
    """Arguments of a launch with addresses for tensors, and what a profiler is told without the wrapper around it."""
    told = arguments[METADATA]
    assert told.data["name"] == "scaled_kernel"
    rest = *arguments[:METADATA], *arguments[METADATA + 1 :]
    return [told.data, *(x.data_ptr() if isinstance(x, torch.Tensor) else x for x in rest)]


def test_a_kept_launch_passes_what_a_plain_one_does(monkeypatch):
    driver = triton_driver.install(monkeypatch)
    launch = Launch(scaled_kernel, (2, 3), NUMBERS, CONSTANTS)
    first, second = (torch.zeros(2, 256).unbind(0) for _ in range(2))
    shifted = [x[1:] for x in first]  # not a multiple of 16 bytes: another kernel
    for tensors in (first, second, shifted, first):
        launch(*tensors)
        kept = driver.launches.pop()
        assert scaled_kernel[(2, 3)](*tensors, *NUMBERS, **CONSTANTS) is not None
        own = driver.launches.pop()
        assert plain(kept[1]) == plain(own[1])
    assert kept[1][:4] == (2, 3, 1, 7)
    assert driver.launches == []


def test_a_kept_launch_asks_triton_for_nothing_but_still_calls_hooks(monkeypatch):
    driver = triton_driver.install(monkeypatch)
    launch = Launch(scaled_kernel, (2,), NUMBERS, CONSTANTS)
    tensors = torch.zeros(2, 256).unbind(0)
    launch(*tensors)
    called = []
    with monkeypatch.context() as patch:
        patch.setattr(type(scaled_kernel), "run", lambda *_, **__: pytest.fail("looked up again"))
        launch(*tensors)
    assert len(driver.launches) == 2
    with monkeypatch.context() as patch:
        patch.setattr(scaled_kernel, "pre_run_hooks", [lambda *arguments, **named: called.append(arguments)])
        launch(*tensors)
    assert called
    assert driver.launches[-1][1][METADATA + 1] is triton.knobs.runtime.launch_enter_hook


def test_neighborhoods_that_see_their_whole_groups_take_the_kernels_of_windows():
    """As every second layer of DiNAT at 224 pixels; one with longer groups does not."""
    maps = [torch.empty(64, 56, 56, 2, 32, dtype=torch.bfloat16, device="meta") for _ in range(3)]
    bias = torch.empty(2, 13, 13, device="meta")
    found = {
        dilation: problem(signed(*maps, bias, neighborhood_geometry(56, 56, 7, dilation, 1), 0.25))
        for dilation in (8, 7, 1)
    }
    assert [found[dilation].window is not None for dilation in (8, 7, 1)] == [True, False, False]
    assert found[8].y == Axis(56, 7, 0, 8, True)
    assert found[7].y == Axis(56, 7, 1, 7, False)
