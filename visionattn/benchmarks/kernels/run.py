"""`visionattn benchmark kernels`: every way to compute a backbone's attention, measured side by side in one run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from visionattn.benchmarks import record
from visionattn.benchmarks.kernels.cases import Case, choose
from visionattn.benchmarks.kernels.methods import Method, methods
from visionattn.benchmarks.timing import Runner, gemm_flops, interleaved, medians, peak_bytes
from visionattn.kernels.op import Call

FORWARD, BOTH = "forward", "forward+backward"
BATCH = {"cpu": 4, "cuda": 64}
DTYPE = {"cpu": "float32", "cuda": "bfloat16"}
Row = dict[str, Any]


def run_kernels(
    cases: str | list[str] = "*",
    backends: str | list[str] | None = None,
    repeats: int = 7,
    device: str | None = None,
    output_dir: str | Path | None = "benchmarks/results",
    *,
    dtype: str | None = None,
    batch: int | None = None,
    directions: tuple[str, ...] = (FORWARD, BOTH),
    seconds: float | None = None,
    console: Console | None = None,
) -> list[Row]:
    """Times the cases and returns one row per case, pass and method; prints a table and writes JSON and CSV.

    cases       patterns of names in `cases.CASES`, such as "swin_tiny.*".
    backends    patterns of methods: backends, "timm", "timm fused", "partition", "naive gather", ...; None: all but the
                dense reference. "auto" is what the package would choose, and the other times are given in units of it.
    repeats     rounds; in each, every method runs once, and medians over rounds are given.
    device      "cpu" or "cuda"; None: cuda where there is one. Without `dtype` and `batch`: float32 and 4 on the CPU,
                bfloat16 and 64 on cuda.
    output_dir  where the files go; None writes none.
    seconds     no case is begun later than that; those left out are named in the configuration and on the screen.
    A row: case, method, direction, dtype, batch, median_ms, times_auto, peak_bytes (beyond what was held before),
    flops (2 per multiply-add over real pairs; backward counted as twice forward), share_of_gemm, and reason: empty,
    or why the method cannot run this case, with the figures None.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind, images = dtype or DTYPE[place.type], batch or BATCH[place.type]
    number = getattr(torch, kind)
    limit = gemm_flops(number, place)
    rows: list[Row] = []
    left_out: list[str] = []
    begin = time.monotonic()
    for case in choose(cases):
        if seconds is not None and time.monotonic() - begin > seconds:
            left_out.append(case.name)
            continue
        call = case.call(images, number, place)
        for direction in directions:
            rows += _measure(case, call, direction, backends, repeats, place, limit)
    screen = console or Console()
    name = record.hardware(place)["name"]
    record.show(rows, f"{name}, {kind}, batch {images}, GEMM {limit / 1e9:.0f} GFLOP/s", screen)
    if left_out:
        screen.print(f"left out after {seconds:.0f} s: {', '.join(left_out)}", soft_wrap=True)
    if output_dir is not None:
        configuration = {
            "cases": cases, "backends": backends, "repeats": repeats, "device": str(place), "dtype": kind,
            "batch": images, "directions": list(directions), "gemm_flops": limit, "left_out": left_out,
        }  # fmt: skip
        for path in record.write(rows, Path(output_dir), "kernels", place, configuration):
            screen.print(f"wrote {path}", soft_wrap=True)
    return rows


def _measure(
    case: Case,
    call: Call,
    direction: str,
    wanted: str | list[str] | None,
    repeats: int,
    device: torch.device,
    limit: float,
) -> list[Row]:
    train = direction == BOTH
    found = list(methods(call, train, wanted))
    runners: dict[str, Runner] = {}
    for method in found:
        if method.run is not None:
            runners[method.name] = method.forward_backward if train else method.forward
    for run in runners.values():
        run()  # compiles, fills caches
    median = medians(interleaved(runners, repeats, device))
    auto = next((seconds for name, seconds in median.items() if name.startswith("auto")), None)
    flops = flop_count(call) * (3 if train else 1)
    rows = []
    for method in found:
        row: Row = {
            "case": case.name, "method": method.name, "direction": direction,
            "dtype": str(call.q.dtype).removeprefix("torch."), "batch": len(call.q),
        }  # fmt: skip
        rows.append(row | _figures(method, runners, median, auto, flops, limit, device))
    return rows


def _figures(
    method: Method,
    runners: dict[str, Runner],
    median: dict[str, float],
    auto: float | None,
    flops: int,
    limit: float,
    device: torch.device,
) -> Row:
    names = ("median_ms", "times_auto", "peak_bytes", "flops", "share_of_gemm", "reason")
    if method.run is None:
        return dict(zip(names, (None, None, None, flops, None, method.reason), strict=True))
    seconds = median[method.name]
    times_auto = seconds / auto if auto else None
    peak = peak_bytes(runners[method.name], device)
    return dict(zip(names, (seconds * 1e3, times_auto, peak, flops, flops / seconds / limit, ""), strict=True))


def flop_count(call: Call) -> int:
    """Floating-point operations of the forward pass over pairs that are really seen."""
    batch, height, width, heads, depth = call.q.shape
    return 2 * (depth + call.v.shape[-1]) * batch * heads * call.geometry.pairs(height, width)
