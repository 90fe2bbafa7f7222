"""Timing of Triton plans on this device: of tiles, of walks over tiles, or of windows that fit one block.

The kernels do not tune themselves at run time: two processes could choose different plans, and a resumed run would not
give the same bits. On a CPU, with Triton's interpreter, it runs for the sake of its own test.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from visionattn.benchmarks.device_time import device_times
from visionattn.benchmarks.kernels.cases import RoutedCase, choose
from visionattn.benchmarks.record import RESULTS, Row, RowFile, choose_device, show
from visionattn.benchmarks.timing import Runner, interleaved
from visionattn.kernels.backends.triton import toolchain
from visionattn.kernels.custom_op import signed
from visionattn.kernels.op import Call
from visionattn.kernels.signature import Layout, Wanted

INTERPRETED_MEMORY = 99 * 1024
FORWARD, BACKWARD = "forward_ms", "backward_ms"


def run_tune(
    cases: str | list[str],
    repeats: int = 5,
    *,
    device: str | None = None,
    dtype: str = "bfloat16",
    batch: int = 64,
    most: int | None = None,
    seconds: float = float("inf"),
    output_dir: str | Path | None = RESULTS,
) -> list[Row]:
    """Measure median device milliseconds of forward and backward of each plan; one that does not fit has a reason.

    Args:
        cases: patterns of names.
        repeats: rounds.
        device: None: cuda where it is available.
        dtype: of the maps.
        batch: images at a time.
        most: plans of each case; None: all.
        seconds: no plan begins later.
        output_dir: folder of the rows, which are written as they are measured; None writes none.

    Raises:
        ValueError: Triton's kernels do not run on this device, or a case has no plans.
    """
    chosen = choose_device(device)
    if chosen.type != "cuda" and not toolchain.INTERPRETED:
        raise ValueError("Triton plans can be timed on a CUDA device only, and torch finds none")
    end, kept = time.monotonic() + seconds, {"cases": cases, "dtype": dtype, "batch": batch, "repeats": repeats}
    file = RowFile(output_dir, "plans", chosen, kept)
    for case in choose(cases):
        if isinstance(case, RoutedCase):
            raise ValueError(f"plans are those of windows and neighborhoods, and {case.name} has regions")
        call = case.call(batch, getattr(torch, dtype), chosen)
        for plan in _plans(call)[:most]:
            if time.monotonic() < end:
                file.add([{"case": case.name, "plan": repr(plan), **asdict(plan), **_time(call, plan, repeats)}])
    _tell(file)
    return file.rows


def _tell(file: RowFile) -> None:
    columns = ("case", "plan", FORWARD, BACKWARD)
    show(columns, [[_cell(row[column]) for column in columns] for row in file.rows])
    file.close()


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _plans(call: Call) -> list[Any]:
    """The plans worth timing; the first is the default of the forward."""
    from visionattn.kernels.backends.triton import plan, window_plan
    from visionattn.kernels.backends.triton.problem import problem

    base = problem(signed(call.q, call.k, call.v, call.bias, call.geometry, call.scale))
    if base.window is not None:
        return list(window_plan.window_candidates(base.window))
    widest, memory = max(call.q.shape[-1], call.v.shape[-1]), INTERPRETED_MEMORY
    if call.q.is_cuda:
        memory = torch.cuda.get_device_properties(call.q.device).shared_memory_per_block_optin
    return list(plan.candidates(base.y, base.x, call.q.element_size(), widest, memory))


def _time(call: Call, plan: Any, repeats: int) -> Row:
    from visionattn.kernels.backends.triton import launch

    maps = call.q, call.k, call.v
    gradients = tuple(x.new_empty(x.shape) for x in maps)
    signature = signed(*maps, call.bias, call.geometry, call.scale)
    wanted = Wanted(tuple(Layout.of(x) for x in gradients), maps=True, table=call.bias is not None)
    try:
        forward, backward = launch.forward(signature, plan), launch.backward(signature, wanted, plan)
        out, lse = forward(*maps, call.bias)
        grad = torch.ones_like(out)
        runners: dict[str, Runner] = {
            FORWARD: partial(forward, *maps, call.bias),
            BACKWARD: partial(backward, grad, *maps, call.bias, out, lse, gradients),
        }
        for run in runners.values():
            run()
    except RuntimeError as error:
        return {FORWARD: None, BACKWARD: None, "reason": str(error)}
    times = device_times(runners, interleaved(runners, repeats, call.q.device), call.q.device)
    return {key: statistics.median(found.seconds) * 1e3 for key, found in times.items()} | {"reason": ""}
