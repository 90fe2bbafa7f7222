"""``visionattn benchmark kernels``: every way to compute a backbone's attention, measured side by side in one run.

Keys of a row: ``case``, ``method``, ``direction``, ``dtype``, ``batch``, ``median_ms`` with the quartiles ``q1_ms`` and
``q3_ms`` over ``rounds``, ``times_auto``, ``verdict``, ``peak_bytes`` (beyond what was held before), ``flops`` (2 per
multiply-add over pairs that attend; backward counts as twice forward), ``share_of_gemm``, and ``reason``: empty, or why
the method cannot run this case, with None for the figures. The method ``auto`` is what the package chooses;
``times_auto`` is in units of its time, and ``verdict`` says whether the method is faster or slower than it, or that
this cannot be told: fewer than five rounds, or quartiles that overlap.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from visionattn.benchmarks.kernels.cases import Case, choose
from visionattn.benchmarks.kernels.methods import Method, methods
from visionattn.benchmarks.record import RESULTS, Row, choose_device, save, show
from visionattn.benchmarks.timing import Runner, gemm_flops, interleaved, peak_bytes, quartiles, verdict
from visionattn.kernels.op import Call
from visionattn.runs.provenance import device_properties

FORWARD, BOTH = "forward", "forward+backward"
BATCH = {"cpu": 4, "cuda": 64}
DTYPE = {"cpu": "float32", "cuda": "bfloat16"}


def run_kernels(
    cases: str | list[str] = "*",
    backends: str | list[str] | None = None,
    repeats: int = 7,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
    *,
    dtype: str | None = None,
    batch: int | None = None,
    directions: tuple[str, ...] = (FORWARD, BOTH),
    seconds: float | None = None,
    console: Console | None = None,
) -> list[Row]:
    """Time the cases; print a table and write JSON and CSV.

    Args:
        cases: patterns of names in ``cases.CASES``, such as ``swin_tiny.*``.
        backends: patterns of methods: backends, ``timm``, ``timm fused``, ``partition``, ``naive gather``, ...; None:
            all but the dense reference.
        repeats: rounds; each method runs once in a round, and medians over rounds are reported.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.
        dtype: None: float32 on the CPU, bfloat16 on cuda.
        batch: None: 4 on the CPU, 64 on cuda.
        directions: ``forward``, ``forward+backward``.
        seconds: no case starts later than that; cases left out are named in the configuration and on the screen.
        console: where to print.

    Returns:
        One row per case, direction and method; the module's docstring names its keys.
    """
    setup = _set_up(device, dtype, batch, backends, repeats, directions)
    rows, left_out = _measure_cases(choose(cases), setup, seconds)
    screen = console or Console()
    _show(rows, setup.title(), screen)
    if left_out:
        screen.print(f"left out after {seconds:.0f} s: {', '.join(left_out)}", soft_wrap=True)
    configuration = {"cases": cases, **setup.configuration(), "left_out": left_out}
    save(rows, output_dir, "kernels", setup.device, configuration, screen)
    return rows


@dataclass(frozen=True)
class _Setup:
    """How every case of a run is measured.

    Attributes:
        backends: patterns of methods, or None.
        repeats: rounds.
        device: where the methods run.
        dtype: name of the tensors' type.
        batch: images at a time.
        directions: ``forward``, ``forward+backward``.
        gemm_flops: floating-point operations per second of a matrix product of that type.
    """

    backends: str | list[str] | None
    repeats: int
    device: torch.device
    dtype: str
    batch: int
    directions: tuple[str, ...]
    gemm_flops: float

    def call(self, case: Case) -> Call:
        """The case's tensors."""
        return case.call(self.batch, getattr(torch, self.dtype), self.device)

    def title(self) -> str:
        """A line above the tables."""
        name = device_properties(self.device)["name"]
        return f"{name}, {self.dtype}, batch {self.batch}, GEMM {self.gemm_flops / 1e9:.0f} GFLOP/s"

    def configuration(self) -> dict[str, Any]:
        """The fields as the file of a run records them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"device": str(self.device), "directions": list(self.directions)}


def _set_up(
    device: str | None,
    dtype: str | None,
    batch: int | None,
    backends: str | list[str] | None,
    repeats: int,
    directions: tuple[str, ...],
) -> _Setup:
    """Fill in what depends on the device, and measure its matrix products."""
    torch_device = choose_device(device)
    kind, images = dtype or DTYPE[torch_device.type], batch or BATCH[torch_device.type]
    limit = gemm_flops(getattr(torch, kind), torch_device)
    return _Setup(backends, repeats, torch_device, kind, images, directions, limit)


def _measure_cases(cases: list[Case], setup: _Setup, seconds: float | None) -> tuple[list[Row], list[str]]:
    """The rows, and the names of the cases that would have started after ``seconds``."""
    rows: list[Row] = []
    left_out: list[str] = []
    begin = time.monotonic()
    for case in cases:
        if seconds is not None and time.monotonic() - begin > seconds:
            left_out.append(case.name)
            continue
        call = setup.call(case)
        for direction in setup.directions:
            rows += _measure(case, call, direction, setup)
    return rows, left_out


def _show(rows: list[Row], title: str, console: Console) -> None:
    """Print the title and a table per case; methods that cannot run a case are in the files alone."""
    console.print(title)
    headings = ("method", "pass", "ms", "quartiles", "x auto", "than auto", "peak MB", "GFLOP/s", "of GEMM")
    for case in dict.fromkeys(row["case"] for row in rows):
        cells = (_cells(row) for row in rows if row["case"] == case and not row["reason"])
        show(headings, cells, case, console)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["method"],
        "fwd" if row["direction"] == "forward" else "fwd+bwd",
        f"{row['median_ms']:.3f}",
        f"{row['q1_ms']:.3f} to {row['q3_ms']:.3f}",
        f"{row['times_auto']:.2f}" if row["times_auto"] else "-",
        row["verdict"] or "-",
        f"{row['peak_bytes'] / 1e6:.1f}",
        f"{row['flops'] / row['median_ms'] / 1e6:.1f}",
        f"{row['share_of_gemm']:.1%}",
    )


def _measure(case: Case, call: Call, direction: str, setup: _Setup) -> list[Row]:
    train = direction == BOTH
    candidates = list(methods(call, train, setup.backends))
    runners: dict[str, Runner] = {}
    for method in candidates:
        if method.run is not None:
            runners[method.name] = method.forward_backward if train else method.forward
    for run in runners.values():
        run()  # compiles, fills caches
    times = interleaved(runners, setup.repeats, setup.device)
    auto = next((name for name in times if name.startswith("auto")), None)
    flops = flop_count(call) * (3 if train else 1)
    rows = []
    for method in candidates:
        row: Row = {
            "case": case.name, "method": method.name, "direction": direction,
            "dtype": str(call.q.dtype).removeprefix("torch."), "batch": len(call.q),
        }  # fmt: skip
        rows.append(row | _figures(method, runners, times, auto, flops, setup))
    return rows


def _figures(
    method: Method,
    runners: dict[str, Runner],
    times: dict[str, list[float]],
    auto: str | None,
    flops: int,
    setup: _Setup,
) -> Row:
    names = ("median_ms", "q1_ms", "q3_ms", "rounds", "times_auto", "verdict", "peak_bytes", "share_of_gemm")
    if method.run is None:
        return dict.fromkeys(names) | {"flops": flops, "reason": method.reason}
    own = times[method.name]
    seconds, (low, high) = statistics.median(own), quartiles(own)
    return {
        "median_ms": seconds * 1e3,
        "q1_ms": low * 1e3,
        "q3_ms": high * 1e3,
        "rounds": len(own),
        "times_auto": seconds / statistics.median(times[auto]) if auto else None,
        "verdict": verdict(own, times[auto]) if auto and auto != method.name else "",
        "peak_bytes": peak_bytes(runners[method.name], setup.device),
        "flops": flops,
        "share_of_gemm": flops / seconds / setup.gemm_flops,
        "reason": "",
    }


def flop_count(call: Call) -> int:
    """Floating-point operations of the forward pass over the pairs that attend."""
    batch, height, width, heads, depth = call.q.shape
    return 2 * (depth + call.v.shape[-1]) * batch * heads * call.geometry.pairs(height, width)
