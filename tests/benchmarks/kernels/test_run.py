"""The kernel benchmark: a tiny case end to end, its files, its baselines' results, its cases."""

import csv
import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from visionattn.benchmarks.kernels import compare, run_kernels, timm_swin
from visionattn.benchmarks.kernels.baselines import BASELINES, ROUTED_BASELINES
from visionattn.benchmarks.kernels.cases import CASES, Case, RoutedCase, choose
from visionattn.benchmarks.kernels.limits import Limits, byte_count, flop_count
from visionattn.benchmarks.kernels.methods import DIRECTIONS, leaf_call, methods
from visionattn.benchmarks.kernels.tune import run_tune
from visionattn.benchmarks.timing import UNTOLD, gemm_limit, interleaved, medians, peak_bytes, quartiles, verdict
from visionattn.kernels import routed_attention
from visionattn.kernels.backends import reference

CPU = torch.device("cpu")
SMALL = {
    "windows": Case("windows", True, 6, 2, (3, 3), (0, 0)),
    "shifted": Case("shifted", True, 6, 2, (3, 3), (1, 2)),
    "grid": Case("grid", True, 6, 2, (3, 2), (0, 0), (2, 3)),
    "neighborhood": Case("neighborhood", False, 7, 2, (3, 4), (2, 1), (2, 1)),
}


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_baselines_compute_the_same_attention(case):
    call = case.call(2, torch.float32, CPU)
    ran = []
    for baseline in BASELINES:
        if baseline.name not in ("flex compiled", "natten, no bias") and not call.reason(baseline):
            errors = compare(call, baseline.fn)
            assert all(error.is_fine for error in errors.values()), (baseline.name, errors)
            ran.append(baseline.name)
    expected = {"shifted": [], "neighborhood": ["naive gather"]}
    assert ran == expected.get(case.name, ["partition", "partition sdpa"])


def test_gathered_copies_compute_the_attention_to_listed_regions():
    call = RoutedCase("regions", 6, 2, 2, regions=3).call(2, torch.float64, CPU)
    (copies,) = ROUTED_BASELINES
    torch.testing.assert_close(copies.fn(*call.arguments), routed_attention.dispatch(call))
    odd = replace(call, q=call.q[:, :5], k=call.k[:, :5], v=call.v[:, :5])
    assert odd.reason(copies) == "it needs whole regions"
    assert flop_count(call) == 2 * (32 + 32) * 2 * 2 * 36 * 2 * 4
    assert byte_count(call) == 4 * call.q.numel() * 8
    names = [method.name for method in methods(call, train=True)]
    assert names[0].startswith("auto (")
    assert {"tiled", "traceable", "gathered copies"} < set(names)
    assert not {"reference", "timm"} & set(names)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["windows", "shifted"])
def test_timm_is_given_the_same_attention(name, fused):
    call = SMALL[name].call(2, torch.float32, CPU)
    run, leaves = timm_swin.prepare(call, fused, train=True)
    expected = reference.attend(call.q, call.k, call.v, call.bias, call.geometry, call.scale)
    torch.testing.assert_close(run(), expected.flatten(3), rtol=1e-4, atol=1e-4)
    assert all(g is not None for g in torch.autograd.grad(run().sum(), leaves))


def test_timm_says_why_not():
    assert "dilation" in timm_swin.refuses(SMALL["grid"].call(1, torch.float32, CPU))
    call = SMALL["windows"].call(1, torch.float32, CPU)
    odd = replace(call, q=call.q[:, :5], k=call.k[:, :5], v=call.v[:, :5])
    assert "pad" in timm_swin.refuses(odd)


def test_leaves_get_gradients():
    call, leaves = leaf_call(SMALL["neighborhood"].call(1, torch.float32, CPU), train=True)
    assert [tuple(leaf.shape) for leaf in leaves] == [(1, 7, 7, 3, 2, 32), (2, 5, 7)]
    assert call.q.requires_grad


def test_methods_hide_the_slow_ones_unless_named():
    call = SMALL["neighborhood"].call(1, torch.float32, CPU)
    usual = [method.name for method in methods(call, train=True)]
    assert usual[0].startswith("auto (")
    assert "naive gather" in usual
    assert "timm" in usual
    assert "reference" not in usual
    (named,) = methods(call, train=True, wanted="reference")
    assert named.run is not None


def test_run_writes_rows_hardware_versions_and_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(Limits, "measured", lambda dtype, device: Limits(1e9, "torch", 1e8))
    monkeypatch.setattr("visionattn.benchmarks.kernels.cases.CASES", tuple(SMALL.values()))
    screen = Console(file=io.StringIO(), width=100)
    wanted = ["auto", "tiled", "naive gather", "timm"]
    options = {"repeats": 2, "device": "cpu", "output_dir": tmp_path, "batch": 1, "directions": DIRECTIONS}
    rows = run_kernels("neighborhood", wanted, console=screen, **options)
    measured = [row for row in rows if not row["reason"]]
    assert len(rows) == 12
    assert len(measured) == 9
    passes = {"forward": (1, 4, 1), "backward": (2, 8, 2), "forward+backward": (3, 12, 3)}
    assert {row["direction"] for row in rows} == set(passes)
    for row in measured:
        factor, maps, tables = passes[row["direction"]]
        assert row["median_ms"] > 0
        assert row["flops"] == factor * 2 * 64 * 2 * 49 * 12
        assert row["bytes"] == 4 * (maps * 49 * 2 * 32 + tables * 2 * 5 * 7)
        assert (row["device_how"], row["device_ms"]) == ("wall", row["median_ms"])
        assert row["share_of_gemm"] == pytest.approx(row["flops"] / row["device_ms"] / 1e6)
        assert row["share_of_copy"] == pytest.approx(row["bytes"] / row["device_ms"] / 1e5)
        assert row["q1_ms"] <= row["median_ms"] <= row["q3_ms"]
        assert (row["rounds"], row["verdict"]) == (2, "" if row["method"].startswith("auto") else UNTOLD)
    assert [row["times_auto"] for row in measured if row["method"].startswith("auto")] == [1, 1, 1]
    (document,) = (json.loads(path.read_text()) for path in tmp_path.glob("kernels_*.json"))
    assert document["rows"] == rows
    assert document["configuration"]["repeats"] == 2
    assert document["versions"]["torch"]
    assert document["hardware"]["name"]
    (table,) = tmp_path.glob("kernels_*.csv")
    with table.open() as file:
        assert [line["method"] for line in csv.DictReader(file)] == [row["method"] for row in rows]
    assert document["configuration"]["copy_bytes"] == 1e8
    assert "naive gather" in screen.file.getvalue()
    assert "…" not in screen.file.getvalue()  # every cell of the table fits


def test_cases_begun_too_late_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Limits, "measured", lambda dtype, device: Limits(1e9, "torch", 1e8))
    screen = Console(file=io.StringIO(), width=200)
    rows = run_kernels(["swin_tiny.s4", "dinat_tiny.s4"], device="cpu", output_dir=tmp_path, seconds=-1, console=screen)
    assert rows == []
    assert "no time was left for swin_tiny.s4, dinat_tiny.s4" in screen.file.getvalue()
    (document,) = (json.loads(path.read_text()) for path in tmp_path.glob("kernels_*.json"))
    assert document["configuration"]["left_out"] == ["swin_tiny.s4", "dinat_tiny.s4"]


def test_plans_are_tuned_on_a_gpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="CUDA device only"):
        run_tune("swin_tiny.s1")


def test_cases_are_legal_and_chosen_by_pattern():
    for case in choose():
        call = case.call(1, torch.float32, CPU)
        assert tuple(call.q.shape) == (1, case.side, case.side, case.heads, 32)
    assert [case.name for case in CASES if case not in choose()] == ["natten.256"]
    assert [case.name for case in choose("natten*")] == ["natten.256"]
    assert [case.name for case in choose("swin_tiny.s1*")] == ["swin_tiny.s1", "swin_tiny.s1.shifted"]
    assert {case.name.split(".")[0] for case in choose()} == {
        *("swin_tiny", "dinat_tiny", "cswin_tiny", "maxvit_tiny", "windows", "biformer_tiny")
    }
    with pytest.raises(ValueError, match=r"swin_giant.*swin_tiny\.s1"):
        choose(["swin_tiny.*", "swin_giant*"])


def test_runs_are_interleaved(monkeypatch):
    order = []
    monkeypatch.setattr("visionattn.benchmarks.timing.SHORTEST", 0.0)
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, CPU)
    assert "".join(order) == "ab" + 2 * "aabb"  # one run each to choose the count; two rounds, each run once before
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
    assert [len(values) for values in times.values()] == [2, 2]


def test_a_verdict_needs_rounds_and_intervals_that_do_not_overlap():
    """What two rounds on a busy machine seem to say, fifteen may deny."""
    fast, slow = [1.0, 1.1, 1.0, 1.2, 1.0], [1.5, 1.6, 1.5, 1.9, 1.5]
    assert verdict(fast, slow) == "faster"
    assert verdict(slow, fast) == "slower"
    assert verdict(fast[:4], slow[:4]) == UNTOLD
    assert verdict(fast, [0.9, 1.05, 1.1, 3.0, 1.0]) == UNTOLD
    assert quartiles([3.0, 1.0, 2.0, 4.0, 5.0]) == (2.0, 4.0)
    assert quartiles([2.0]) == (2.0, 2.0)


def test_peak_memory_counts_what_is_held_at_once():
    def run():
        for _ in range(3):
            torch.empty(1 << 20, dtype=torch.uint8).zero_()
        held = [torch.empty(1 << 20, dtype=torch.uint8) for _ in range(2)]
        del held

    assert 2 << 20 <= peak_bytes(run, CPU) < 3 << 20


def test_the_limit_of_a_cpu_is_that_of_its_faster_library(monkeypatch):
    times = {"torch": [2.0, 4.0], "oneDNN": [1.0, 9.0]}
    monkeypatch.setattr("visionattn.benchmarks.timing.interleaved", lambda runners, *_: {n: times[n] for n in runners})
    assert gemm_limit(torch.float32, CPU, side=4) == (2 * 4**3 / 1.0, "oneDNN")


def test_a_backward_pass_gives_the_gradients_each_time():
    call = SMALL["windows"].call(1, torch.float32, CPU)
    method = next(iter(methods(call, train=True, wanted="tiled")))
    found = []
    grad = torch.autograd.grad
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", lambda *given, **options: found.append(grad(*given, **options)))
        for direction in ("backward", "forward+backward"):
            run = method.runner(direction)
            run()
            run()
    assert len(found) == 4
    for gradients in found:
        torch.testing.assert_close(gradients, found[0])
