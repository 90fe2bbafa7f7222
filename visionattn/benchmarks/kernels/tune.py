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
from visionattn.benchmarks.kernels.cases import RoutedCase, choose
from visionattn.benchmarks.record import Row
from visionattn.benchmarks.timing import interleaved
from visionattn.kernels.custom_op import signed
from visionattn.kernels.op import Call
from visionattn.kernels.signature import Layout, Wanted


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
        if isinstance(case, RoutedCase):
            raise ValueError(f"plans are those of windows and neighborhoods, and {case.name} has regions")
        rows += _tune_call(case.name, case.call(batch, getattr(torch, dtype), device), repeats)
    return rows


def _tune_call(name: str, call: Call, repeats: int) -> list[Row]:
    from visionattn.kernels.backends.triton import plan, window_plan
    from visionattn.kernels.backends.triton.problem import problem

    base = problem(signed(call.q, call.k, call.v, call.bias, call.geometry, call.scale))
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

    maps = call.q, call.k, call.v
    gradients = [x.new_empty(x.shape) for x in maps]
    signature = signed(*maps, call.bias, call.geometry, call.scale)
    wanted = Wanted(tuple(Layout.of(x) for x in gradients), maps=True, table=call.bias is not None)
    try:
        forward, backward = launch.forward(signature, plan), launch.backward(signature, wanted, plan)
        out, lse = forward(*maps, call.bias)
        grad = torch.ones_like(out)
        runners = {
            "forward_ms": lambda: forward(*maps, call.bias),
            "backward_ms": lambda: backward(grad, *maps, call.bias, out, lse, gradients),
        }
        runners["backward_ms"]()
    except OutOfResources as error:
        return {"forward_ms": None, "backward_ms": None, "reason": str(error)}
    device = call.q.device
    times = device_times(runners, interleaved(runners, repeats, device), device)
    return {key: statistics.median(found.seconds) * 1e3 for key, found in times.items()} | {"reason": ""}
