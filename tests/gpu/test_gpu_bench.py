"""The benchmarks on a device: small cases with every method that runs there, and the two ways to time a device."""

import io

import pytest
import torch
from rich.console import Console

from visionattn.benchmarks.backbones import run_backbones
from visionattn.benchmarks.device_time import GRAPH, PROFILER, copy_rate, device_times
from visionattn.benchmarks.kernels import run_kernels
from visionattn.benchmarks.kernels.methods import DIRECTIONS


def test_rows_of_a_swin_stage(cuda, tmp_path):
    """Every way and direction, ours and the others', is captured in a graph."""
    methods = ["auto", "tiled", "timm*", "partition*", "sdpa ceiling"]
    screen = Console(file=io.StringIO(), width=100)
    options = {"device": "cuda", "output_dir": tmp_path, "batch": 4, "console": screen, "directions": DIRECTIONS}
    rows = run_kernels("swin_tiny.s4", methods, repeats=2, **options)
    measured = [row for row in rows if not row["reason"]]
    names = {"auto (triton)", "tiled", "timm", "timm fused", "partition", "partition sdpa", "sdpa ceiling"}
    assert {row["method"] for row in measured} == names
    assert all(row["median_ms"] > 0 and row["device_ms"] > 0 for row in measured)
    assert {(row["method"], row["direction"]): row["device_reason"] for row in measured if row["device_reason"]} == {}
    assert {row["device_how"] for row in measured} == {GRAPH}
    assert {row["direction"] for row in measured} == set(DIRECTIONS)
    assert len(list(tmp_path.iterdir())) == 2


def test_rows_of_a_backbone(device, tmp_path):
    options = {"batches": [2], "dtypes": ["bfloat16"], "repeats": 2, "size": 64, "channels_last": [False, True]}
    rows = run_backbones("swin_pico", device=device.type, output_dir=tmp_path, **options)
    assert [row["reason"] for row in rows] == [""] * 4
    assert {row["device_how"] for row in rows} == ({GRAPH} if device.type == "cuda" else {"wall"})


def test_a_graph_takes_the_host_away(cuda):
    x = torch.randn(64, device=cuda)

    def many():
        y = x
        for _ in range(100):
            y = y + 1

    many()
    (found,) = device_times({"many": many}, {"many": [1.0]}, cuda).values()
    assert found.how == GRAPH
    assert 0 < min(found.seconds) < 1e-3


def test_what_cannot_be_captured_is_profiled(cuda):
    x = torch.randn(1 << 20, device=cuda)
    (found,) = device_times({"read": lambda: x.sum().item()}, {"read": [1.0]}, cuda).values()
    assert (found.how, len(found.seconds)) == (PROFILER, 1)
    assert found.reason
    assert 0 < found.seconds[0] < 0.1
    assert torch.randn(3, device=cuda).isfinite().all()  # a capture that failed would refuse it


def test_a_capture_that_fails_leaves_random_numbers_and_later_captures(cuda):
    events = [torch.cuda.Event() for _ in range(2)]

    def wait():
        events[0].record()
        events[0].synchronize()  # no operation of torch, so that only the capture finds it

    fine = lambda: torch.ones(8, device=cuda) + 1  # noqa: E731
    found = device_times({"wait": wait, "fine": fine}, {"wait": [1.0], "fine": [1.0]}, cuda)
    assert (found["wait"].how, found["fine"].how) == (PROFILER, GRAPH)
    assert torch.randn(3, device=cuda).isfinite().all()


def test_the_copy_of_a_card_is_fast(device):
    assert copy_rate(device, size=1 << 24) > (1e11 if device.type == "cuda" else 1e8)


@pytest.mark.parametrize("mode", [True, "reduce-overhead"])
def test_rows_of_a_compiled_backbone(mode, cuda):
    options = {"batches": [4], "dtypes": ["bfloat16"], "repeats": 2, "size": 64, "compile": [mode]}
    rows = run_backbones("swin_pico", device="cuda", output_dir=None, **options)
    assert [row["reason"] for row in rows] == ["", ""]
    assert all(row["device_ms"] > 0 and row["first_seconds"] > 0 for row in rows)
