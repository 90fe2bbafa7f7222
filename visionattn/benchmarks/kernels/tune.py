"""Timing of Triton plans on this device: of tiles, or of windows that fit one block.

The kernels do not tune themselves at run time: two processes could choose different plans, and a resumed run would not
give the same bits.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

import torch

from visionattn.benchmarks.device_time import device_times
from visionattn.benchmarks.kernels.cases import choose
from visionattn.benchmarks.record import Row
from visionattn.benchmarks.timing import interleaved
from visionattn.kernels.op import Call


def tune(cases: str | list[str], repeats: int = 5, dtype: str = "bfloat16", batch: int = 64) -> list[Row]:
    """Measure median device milliseconds of forward and backward of each plan on the current GPU, the default first.

    A plan that does not fit the device has a reason instead of times.

    Raises:
        ValueError: there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise ValueError("Triton plans can be timed on a CUDA device only, and torch finds none")
    device = torch.device("cuda")
    rows = []
    for case in choose(cases):
        rows += _tune_call(case.name, case.call(batch, getattr(torch, dtype), device), repeats)
    return rows


def _tune_call(name: str, call: Call, repeats: int) -> list[Row]:
    from visionattn.kernels.backends.triton import launch, plan, window_plan

    base = launch.problem(call.q, call.k, call.v, call.bias, call.geometry, call.scale)
    if base.window is not None:
        plans: list[Any] = window_plan.window_candidates(base.window)
    else:
        widest = max(call.q.shape[-1], call.v.shape[-1])
        memory = torch.cuda.get_device_properties(call.q.device).shared_memory_per_block_optin
        plans = plan.candidates(base.y, base.x, call.q.element_size(), widest, memory)
    return [{"case": name, **asdict(candidate), **_time(call, candidate, repeats)} for candidate in plans]


def _time(call: Call, plan: Any, repeats: int) -> Row:
    from triton import OutOfResources

    from visionattn.kernels.backends.triton import launch

    inputs, geometry = (call.q, call.k, call.v, call.bias), (call.geometry, call.scale)
    try:
        out, lse = launch.forward(*inputs, *geometry, plan)
        grad, into = torch.ones_like(out), [x.new_empty(x.shape) for x in (call.q, call.k, call.v)]
        runners = {
            "forward_ms": lambda: launch.forward(*inputs, *geometry, plan),
            "backward_ms": lambda: launch.backward(grad, *inputs, out, lse, *geometry, into, plan=plan),
        }
        runners["backward_ms"]()
    except OutOfResources as error:
        return {"forward_ms": None, "backward_ms": None, "reason": str(error)}
    device = call.q.device
    times = device_times(runners, interleaved(runners, repeats, device), device)
    return {key: statistics.median(found.seconds) * 1e3 for key, found in times.items()} | {"reason": ""}
