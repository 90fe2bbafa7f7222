"""``visionattn benchmark kernels``: every way to compute a backbone's attention, measured side by side in one run.

Keys of a row: ``case``, ``method``, ``direction``, ``dtype``, ``batch``, ``median_ms`` on the wall with the quartiles
``q1_ms`` and ``q3_ms`` over ``rounds``, ``device_ms`` with ``device_how`` and ``device_reason``
(:mod:`visionattn.benchmarks.device_time`), ``times_auto``, ``verdict``, ``peak_bytes`` (beyond what was held before),
``flops`` and ``bytes`` (:mod:`visionattn.benchmarks.kernels.limits`), ``share_of_gemm`` and ``share_of_copy``, and
``reason``: empty, or why the method cannot run this case, with None for the figures. The method ``auto`` is what the
package chooses; ``times_auto`` is in units of its device time, and ``verdict`` says whether the method is faster or
slower than it, or that this cannot be told: fewer than five rounds, or quartiles that overlap. The shares are those of
the device time: 1 where a method takes as long as the machine's matrix product, or its copy, for the same operations
or bytes. Small cases lie in a cache and may exceed the copy, which does not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch._functorch import config as functorch_config

from visionattn.benchmarks.device_time import WALL, DeviceTime, device_times, own_stream
from visionattn.benchmarks.kernels.cases import AnyCase, choose
from visionattn.benchmarks.kernels.limits import Limits, byte_count, flop_count
from visionattn.benchmarks.kernels.methods import BOTH, DIRECTIONS, FORWARD, AnyCall, methods
from visionattn.benchmarks.record import RESULTS, Row, RowFile, choose_device, show
from visionattn.benchmarks.timing import Runner, interleaved, peak_bytes, quartiles, verdict
from visionattn.errors import ConfigError
from visionattn.kernels.backends.triton.fallback import without_fallback
from visionattn.runs.provenance import device_properties

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
    directions: Sequence[str] = (FORWARD, BOTH),
    seconds: float | None = None,
    console: Console | None = None,
) -> list[Row]:
    """Time the cases; print a table and write JSON and CSV.

    Args:
        cases: patterns of names in ``cases.CASES``, such as ``swin_tiny.*``.
        backends: patterns of methods: backends, ``timm*``, ``partition*``, ...; None: all but the dense reference.
        repeats: rounds; each method runs once in a round, and medians over rounds are reported.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.
        dtype: None: float32 on the CPU, bfloat16 on cuda.
        batch: None: 4 on the CPU, 64 on cuda.
        directions: ``forward``, ``backward``, ``forward+backward``.
        seconds: no case starts later than that; cases left out are named in the configuration and on the screen.
        console: where to print.

    Returns:
        One row per case, direction and method; the module's docstring names its keys.

    Raises:
        ConfigError: an unknown direction.
    """
    setup = _set_up(device, dtype, batch, backends, repeats, directions)
    file = RowFile(output_dir, "kernels", setup.device, {"cases": cases, **setup.configuration()})
    with own_stream(setup.device), without_fallback():
        left_out = _measure_cases(choose(cases), setup, seconds, file)
    _show(file.rows, setup.title(), left_out, screen := console or Console())
    file.close(screen, left_out=left_out)
    return file.rows


@dataclass(frozen=True)
class _Setup:
    """How every case of a run is measured.

    Attributes:
        backends: patterns of methods, or None.
        repeats: rounds.
        device: where the methods run.
        dtype: name of the tensors' type.
        batch: images at a time.
        directions: ``forward``, ``backward``, ``forward+backward``.
        limits: what the machine computes and copies in a second.
    """

    backends: str | list[str] | None
    repeats: int
    device: torch.device
    dtype: str
    batch: int
    directions: tuple[str, ...]
    limits: Limits

    def call(self, case: AnyCase) -> AnyCall:
        """The case's tensors."""
        return case.call(self.batch, getattr(torch, self.dtype), self.device)

    def title(self) -> str:
        """A line above the tables."""
        name = device_properties(self.device)["name"]
        gemm = f"GEMM {self.limits.gemm_flops / 1e9:.0f} GFLOP/s ({self.limits.gemm_library})"
        return f"{name}, {self.dtype}, batch {self.batch}, {gemm}, copy {self.limits.copy_bytes / 1e9:.0f} GB/s"

    def configuration(self) -> dict[str, Any]:
        """The fields as the file of a run records them."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "limits"}
        return values | {"device": str(self.device), "directions": list(self.directions)} | self.limits.as_dict()


def _set_up(
    device: str | None,
    dtype: str | None,
    batch: int | None,
    backends: str | list[str] | None,
    repeats: int,
    directions: Sequence[str],
) -> _Setup:
    """Fill in what depends on the device, and measure its matrix product and copy."""
    if not directions or set(directions) - set(DIRECTIONS):
        raise ConfigError(f"directions are some of {', '.join(DIRECTIONS)}, got {list(directions)}")
    torch_device = choose_device(device)
    kind, images = dtype or DTYPE[torch_device.type], batch or BATCH[torch_device.type]
    limits = Limits.measured(getattr(torch, kind), torch_device)
    return _Setup(backends, repeats, torch_device, kind, images, tuple(directions), limits)


def _measure_cases(cases: list[AnyCase], setup: _Setup, seconds: float | None, file: RowFile) -> list[str]:
    """Add the rows to the file; the names of the cases that would have started after ``seconds`` are returned."""
    left_out: list[str] = []
    begin = time.monotonic()
    for case in cases:
        if seconds is not None and time.monotonic() - begin > seconds:
            left_out.append(case.name)
            continue
        call = setup.call(case)
        for direction in setup.directions:
            file.add(_measure(case, call, direction, setup))
    return left_out


def _show(rows: list[Row], title: str, left_out: list[str], console: Console) -> None:
    """Print the title and a table per case and pass; methods that cannot run a case are in the files alone.

    On a GPU the device's time takes the place of the quartiles.
    """
    console.print(title)
    for case, direction in dict.fromkeys((row["case"], row["direction"]) for row in rows):
        own = [row for row in rows if (row["case"], row["direction"]) == (case, direction) and not row["reason"]]
        on_gpu = any(row["device_how"] != WALL for row in own)
        times = ("wall ms", "device ms") if on_gpu else ("ms", "quartiles")
        headings = ("method", *times, "x auto", "than auto", "peak MB", "of copy", "of GEMM")
        show(headings, (_cells(row, on_gpu) for row in own), f"{case}, {direction}", console)
        for reason in dict.fromkeys(row["device_reason"] for row in own if row["device_reason"]):
            names = ", ".join(row["method"] for row in own if row["device_reason"] == reason)
            console.print(f"  {names}: device time from the profiler, no CUDA graph ({reason})", soft_wrap=True)
    if left_out:
        console.print(f"no time was left for {', '.join(left_out)}", soft_wrap=True)


def _cells(row: Row, on_gpu: bool) -> tuple[str, ...]:
    return (
        row["method"],
        f"{row['median_ms']:.3f}",
        f"{row['device_ms']:.3f}" if on_gpu else f"{row['q1_ms']:.3f} to {row['q3_ms']:.3f}",
        f"{row['times_auto']:.2f}" if row["times_auto"] else "-",
        row["verdict"] or "-",
        f"{row['peak_bytes'] / 1e6:.1f}",
        f"{row['share_of_copy']:.0%}",
        f"{row['share_of_gemm']:.1%}",
    )


def _measure(case: AnyCase, call: AnyCall, direction: str, setup: _Setup) -> list[Row]:
    candidates = list(methods(call, direction != FORWARD, setup.backends))
    runners: dict[str, Runner] = {}
    with functorch_config.patch(donated_buffer=False):  # a compiled method's backward pass is run several times
        for method in candidates:
            if method.run is not None:
                runners[method.name] = method.runner(direction)
                runners[method.name]()  # compiles, fills caches
        wall = interleaved(runners, setup.repeats, setup.device)
        device = device_times(runners, wall, setup.device)
        peaks = {name: peak_bytes(run, setup.device) for name, run in runners.items()}
    auto = next((device[name].seconds for name in device if name.startswith("auto")), None)
    limits: Row = {"flops": flop_count(call, direction), "bytes": byte_count(call, direction)}
    rows = []
    for method in candidates:
        row: Row = {
            "case": case.name, "method": method.name, "direction": direction,
            "dtype": str(call.q.dtype).removeprefix("torch."), "batch": len(call.q),
        }  # fmt: skip
        if method.run is None:
            rows.append(row | dict.fromkeys(_FIGURES) | limits | {"reason": method.reason})
            continue
        name = method.name
        figures = _figures(wall[name], device[name], None if name.startswith("auto") else auto, limits, setup.limits)
        times_auto = statistics.median(device[name].seconds) / statistics.median(auto) if auto else None
        rows.append(row | figures | {"times_auto": times_auto, "peak_bytes": peaks[name], **limits, "reason": ""})
    return rows


_FIGURES = (
    *("median_ms", "q1_ms", "q3_ms", "rounds", "device_ms", "device_how", "device_reason", "verdict"),
    *("share_of_gemm", "share_of_copy", "times_auto", "peak_bytes"),
)


def _figures(wall: list[float], device: DeviceTime, auto: list[float] | None, counts: Row, limits: Limits) -> Row:
    """The figures of a method; ``auto``: the device times of that method, None for itself."""
    (low, high), seconds = quartiles(wall), statistics.median(device.seconds)
    return {
        "median_ms": statistics.median(wall) * 1e3,
        "q1_ms": low * 1e3,
        "q3_ms": high * 1e3,
        "rounds": len(wall),
        "device_ms": seconds * 1e3,
        "device_how": device.how,
        "device_reason": device.reason,
        "verdict": verdict(device.seconds, auto) if auto else "",
        "share_of_gemm": counts["flops"] / seconds / limits.gemm_flops,
        "share_of_copy": counts["bytes"] / seconds / limits.copy_bytes,
    }
