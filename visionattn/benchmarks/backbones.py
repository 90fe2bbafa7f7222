"""Speed of whole backbones beside timm's model of the same architecture and weights, measured in one run.

Keys of a row: ``backbone``, ``size``, ``dtype``, ``batch``, ``pass``, ``model``, ``compile`` (mode, options, or empty),
``channels_last``, ``images_per_second`` on the wall, ``device_ms`` with ``device_how`` and ``device_reason``
(:mod:`visionattn.benchmarks.device_time`), ``device_images_per_second``, ``times_timm`` (timm's device time in the same
form, divided by the model's), ``times_timm_eager`` (timm's without compilation), ``peak_bytes`` (None for a runtime,
whose memory torch does not see), ``share_of_gemm`` of the device time, ``first_seconds`` (the first call, with
compilation; None for a runtime), ``relative_error`` of a runtime's output (in int8 the root mean square), and
``reason``: empty, or why there are no figures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from visionattn.backbones.cost import count_gmacs
from visionattn.backbones.zoo import backbone_files, list_backbones
from visionattn.benchmarks import runtimes
from visionattn.benchmarks.contenders import (
    INFERENCE,
    OURS,
    PLAIN,
    TIMM,
    TRAIN,
    Compile,
    Contender,
    Work,
    compiling,
    contenders,
    runtime_contenders,
    with_counterpart,
)
from visionattn.benchmarks.device_time import WALL, DeviceTime, device_times, own_stream
from visionattn.benchmarks.record import RESULTS, Row, RowFile, choose_device, show
from visionattn.benchmarks.timing import gemm_limit, interleaved, peak_bytes
from visionattn.errors import ConfigError
from visionattn.export.graph_modules import traceable
from visionattn.runs.memory import keep_freed_memory

PASSES = (INFERENCE, TRAIN)
DTYPES = ("float32", "bfloat16")
AGAINST = (TIMM, PLAIN, *runtimes.RUNTIMES)
BATCHES = {"cpu": (1, 8), "cuda": (64,)}


def run_backbones(
    names: str | Sequence[str] = "swin_tiny",
    *,
    device: str | None = None,
    output_dir: str | Path | None = RESULTS,
    **options: Any,
) -> list[Row]:
    """Measure images per second and peak memory of our backbones and of their counterparts, in turn.

    Args:
        names: patterns of backbone names.
        device: ``cpu`` or ``cuda``; None: cuda where it is available.
        output_dir: folder of the JSON and CSV files; None writes none.
        **options: the fields of :class:`Comparison`.

    Returns:
        One row per backbone, type, batch, pass and model; the module's docstring names its keys.

    Raises:
        ConfigError: no backbone of that name, an unknown pass, type or counterpart, or outputs that differ from timm's.
    """
    comparison = Comparison(**options)
    chosen = comparison.choose([names] if isinstance(names, str) else list(names))
    measuring = _Measuring(comparison, choose_device(device))
    file = RowFile(output_dir, "backbones", measuring.device, measuring.configuration())
    with own_stream(measuring.device):
        left_out = measuring.measure(chosen, file)
    _show(file.rows)
    if left_out:
        print(f"left out after {comparison.seconds:.0f} s: {', '.join(left_out)}")
    file.close(left_out=left_out)
    return file.rows


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        batches: images at a time; None: 1 and 8 on the CPU, 64 on cuda.
        dtypes: ``float32``, ``bfloat16`` (autocast) or, of runtimes' inference, ``int8`` (linear layers, calibrated on
            noise).
        passes: ``inference``; ``train`` is forward, backward and a fused AdamW step.
        repeats: rounds; each model runs once in a round, and medians over rounds are reported.
        size: side of the square image; None: the card's.
        against: ``timm``; ``plain``, our model with its attentions in plain torch operators; for inference on the CPU
            also ``onnxruntime`` and ``openvino``, on our exported graph.
        compile: ``false``, ``true``, a mode of ``torch.compile``, or options of Inductor such as
            ``combo_kernels=true``, joined by commas; ours and timm's are measured in each.
        channels_last: ``false``, ``true`` or both: the layout of images and convolutions.
        graphs: folder where exported graphs are kept for the next run of the same code and weights; None keeps none.
        seconds: no backbone, type, batch or pass starts later than that; the configuration names what is left out.
        keep_memory: whether the C library keeps freed memory for the next step, as ``visionattn train`` has it; without
            it every step of either model waits for pages that the system clears.
    """

    batches: Sequence[int] | None = None
    dtypes: Sequence[str] = DTYPES
    passes: Sequence[str] = PASSES
    repeats: int = 5
    size: int | None = None
    against: Sequence[str] = (TIMM,)
    compile: Sequence[Compile] = (False,)
    channels_last: Sequence[bool] = (False,)
    graphs: str | Path | None = None
    seconds: float | None = None
    keep_memory: bool = True

    def choose(self, patterns: list[str]) -> list[str]:
        """Names of backbones that match a pattern, once each; refuse a request of which nothing can be measured."""
        chosen = list(dict.fromkeys(name for pattern in patterns for name in list_backbones(pattern)))
        passes, dtypes = list(self.passes), list(self.dtypes)
        if not chosen or set(passes) - set(PASSES) or set(dtypes) - {*DTYPES, runtimes.INT8}:
            raise ConfigError(f"nothing to measure for names={patterns}, passes={passes}, dtypes={dtypes}")
        if runtimes.INT8 in dtypes and (INFERENCE not in passes or not set(self.against) & set(runtimes.RUNTIMES)):
            raise ConfigError(
                "dtypes=[int8] is inference in a runtime: passes=[inference] against=[openvino,onnxruntime]"
            )
        for form in self.compile:
            if isinstance(form, str):
                compiling(form)
        unknown = sorted(set(self.against) - set(AGAINST))
        if unknown:
            raise ConfigError(f"against={unknown[0]} is not known; choose from {', '.join(AGAINST)}")
        return chosen


class _Measuring:
    """A comparison on a device, with the limits that were measured there.

    Attributes:
        limits: type to FLOP/s of a matrix product and the library that reaches them.
        kept: whether the C library keeps freed memory.
    """

    def __init__(self, comparison: Comparison, device: torch.device) -> None:
        self.comparison, self.device, self.begin = comparison, device, time.monotonic()
        self.kept = comparison.keep_memory and device.type == "cpu" and keep_freed_memory()
        self.limits = {kind: gemm_limit(getattr(torch, kind), device) for kind in comparison.dtypes if kind in DTYPES}

    def configuration(self) -> Row:
        """What a file records beside the rows."""
        values = asdict(self.comparison) | {"device": str(self.device), "threads": torch.get_num_threads()}
        return values | {
            "graphs": None,  # a folder of this machine
            "keep_memory": self.kept,
            "gemm_flops": {kind: limit for kind, (limit, _) in self.limits.items()},
            "gemm_library": {kind: library for kind, (_, library) in self.limits.items()},
        }

    def measure(self, names: list[str], file: RowFile) -> list[str]:
        """Add the rows to the file; what would have started after ``seconds`` is returned."""
        left_out: list[str] = []
        with TemporaryDirectory(prefix="visionattn-") as temporary:
            for name in names:
                if self._in_time():
                    left_out += self._backbone(name, Path(self.comparison.graphs or temporary), file)
                else:
                    left_out.append(name)
        return left_out

    def _in_time(self) -> bool:
        limit = self.comparison.seconds
        return limit is None or time.monotonic() - self.begin <= limit

    def _backbone(self, name: str, graphs: Path, file: RowFile) -> list[str]:
        """Add a backbone's rows, for each type, batch and pass; what there was no time for is returned."""
        how = self.comparison
        side = how.size or backbone_files()[name]["card"]["input_size"][-1]
        models = with_counterpart(name, side, TIMM in how.against)
        if PLAIN in how.against:
            models[PLAIN] = traceable(models[OURS])
        gmacs = count_gmacs(models[OURS], (3, side, side))
        graph = partial(runtimes.write_graph, models[OURS], side, graphs / name)
        left_out: list[str] = []
        for model in models.values():
            model.to(self.device)
        works = product(how.dtypes, how.batches or BATCHES[self.device.type], how.passes)
        for index, (dtype, batch, kind) in enumerate(works):
            if (dtype, kind) == (runtimes.INT8, TRAIN):
                continue
            if index and not self._in_time():
                left_out.append(f"{name} {dtype} {batch} {kind}")
                continue
            work = Work(kind, dtype, torch.randn(batch, 3, side, side, device=self.device))
            facts = {"backbone": name, "size": side, "dtype": dtype, "batch": batch, "pass": kind}
            flops = 2e9 * gmacs * batch * (3 if kind == TRAIN else 1)
            own = {} if dtype == runtimes.INT8 else models
            found = list(contenders(own, work, how.compile, how.channels_last))
            others = [engine for engine in how.against if engine in runtimes.RUNTIMES]
            found += runtime_contenders(others, models[OURS], work, partial(graph, dtype), how.repeats)
            file.add(facts | row for row in self._figures(found, batch, flops / self.limits[dtype][0] if own else None))
            torch._dynamo.reset()  # what was compiled for this batch is not used again
        return left_out

    def _figures(self, found: list[Contender], batch: int, at_limit: float | None) -> list[Row]:
        """A row of each contender; ``at_limit``: seconds that the GEMM limit would take, if it is known."""
        runners = {contender.label: contender.run for contender in found if contender.run is not None}
        wall = interleaved(runners, self.comparison.repeats, self.device)
        device = device_times(runners, wall, self.device)
        apart = {contender.label: [contender.seconds] for contender in found if contender.seconds is not None}
        wall, device = wall | apart, device | {name: DeviceTime(times, WALL) for name, times in apart.items()}
        rows = []
        for contender in found:
            row: Row = {name: getattr(contender, name) for name in _FORM}
            if contender.label not in wall:
                rows.append(row | dict.fromkeys(_FIGURES) | {"reason": contender.reason})
                continue
            timm = replace(
                contender, model=TIMM, compile="" if contender.relative_error is not None else contender.compile
            )
            row |= _figures(wall[contender.label], device, contender.label, timm.label, batch, at_limit)
            peak = None if contender.run is None else peak_bytes(contender.run, self.device)
            rows.append(row | {"peak_bytes": peak, "reason": ""})
        return rows


_FORM = ("model", "compile", "channels_last", "first_seconds", "relative_error")
_FIGURES = (
    *("images_per_second", "device_ms", "device_how", "device_reason", "device_images_per_second"),
    *("times_timm", "times_timm_eager", "share_of_gemm", "peak_bytes"),
)


def _figures(
    wall: list[float], device: dict[str, DeviceTime], label: str, timm: str, batch: int, at_limit: float | None
) -> Row:
    medians = {name: statistics.median(times.seconds) for name, times in device.items()}
    seconds = medians[label]
    return {
        "images_per_second": batch / statistics.median(wall),
        "device_ms": seconds * 1e3,
        "device_how": device[label].how,
        "device_reason": device[label].reason,
        "device_images_per_second": batch / seconds,
        "times_timm": medians[timm] / seconds if timm in medians else None,
        "times_timm_eager": medians[TIMM] / seconds if TIMM in medians else None,
        "share_of_gemm": None if at_limit is None else at_limit / seconds,
    }


def _show(rows: list[Row]) -> None:
    """Print a table per backbone and pass, and below it why a model has no figures."""
    for name, kind in dict.fromkeys((row["backbone"], row["pass"]) for row in rows):
        own = [row for row in rows if (row["backbone"], row["pass"]) == (name, kind)]
        on_gpu = any(row["device_how"] not in (WALL, None) for row in own)
        rates = ("img/s", "device img/s") if on_gpu else ("img/s",)
        compiled = any(row["compile"] for row in own)
        ratios = ("x timm", "x eager") if compiled else ("x timm",)
        headings = ("type", "batch", "model", *rates, *ratios, "peak MB", "of GEMM")
        cells = [_cells(row, on_gpu, compiled) for row in own if not row["reason"]]
        show(headings, cells, f"{name}, {kind}, {own[0]['size']} x {own[0]['size']}")
        for label, reason in dict.fromkeys((_label(row), row["reason"]) for row in own if row["reason"]):
            print(f"  {label}: {reason}")
        for label, reason in dict.fromkeys((_label(row), row["device_reason"]) for row in own if row["device_reason"]):
            print(f"  {label}: device time from the profiler, no CUDA graph ({reason})")


def _label(row: Row) -> str:
    return Contender(row["model"], row["compile"], row["channels_last"]).label


def _cells(row: Row, on_gpu: bool, compiled: bool) -> list[str]:
    ratios = ("times_timm", "times_timm_eager") if compiled else ("times_timm",)
    rates = ("images_per_second", "device_images_per_second") if on_gpu else ("images_per_second",)
    return [
        *(str(row["dtype"]), str(row["batch"]), _label(row)),
        *(f"{row[rate]:.1f}" for rate in rates),
        *(f"{row[name]:.2f}" if row[name] else "-" for name in ratios),
        f"{row['peak_bytes'] / 1e6:.0f}" if row["peak_bytes"] is not None else "-",
        f"{row['share_of_gemm']:.0%}" if row["share_of_gemm"] is not None else "-",
    ]
