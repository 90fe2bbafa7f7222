"""Interleaved timing and peak memory of callables on one device."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from visionattn.kernels.linear import linear

Runner = Callable[[], object]
SHORTEST, SHORT = 0.02, 0.1


def interleaved(runners: Mapping[str, Runner], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Measure seconds of each run; every runner runs once per round, so a slower machine slows all of them alike.

    A runner of less than 0.1 s runs once before it is timed, so that the caches hold its own data. A runner of less
    than 20 ms runs several times in a row and its time is divided. Call each runner once before: it may be compiled.

    Args:
        runners: name to function.
        repeats: rounds.
        device: where the runners run.

    Returns:
        Name to the seconds of each round.
    """
    first = {name: max(_seconds(run, 1, device), 1e-6) for name, run in runners.items()}
    counts = {name: max(1, round(SHORTEST / seconds)) for name, seconds in first.items()}
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, run in runners.items():
            if first[name] < SHORT:
                run()
            times[name].append(_seconds(run, counts[name], device))
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Median of each list."""
    return {name: statistics.median(values) for name, values in times.items()}


FEWEST_ROUNDS = 5
"""Rounds that a comparison needs: fewer have no quartiles to speak of."""
UNTOLD = "cannot be told"


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; of a single round that one value twice."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def verdict(ours: Sequence[float], others: Sequence[float]) -> str:
    """Whether one runner is ``faster`` or ``slower`` than another, or that it cannot be told.

    It is told from :data:`FEWEST_ROUNDS` rounds on, where the two intervals between the quartiles do not overlap.
    """
    if min(len(ours), len(others)) < FEWEST_ROUNDS:
        return UNTOLD
    (low, high), (other_low, other_high) = quartiles(ours), quartiles(others)
    return "faster" if high < other_low else "slower" if low > other_high else UNTOLD


def _seconds(run: Runner, count: int, device: torch.device) -> float:
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / count
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def peak_bytes(run: Runner, device: torch.device) -> int:
    """Peak of the bytes that torch's allocator holds during a run, beyond what it held before.

    On the CPU it comes from the profiler's record of allocations; memory that a library allocates itself is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with silent(), torch.profiler.profile(activities=cpu, profile_memory=True, acc_events=True) as profile:
        run()
    held = most = 0
    record: Any = profile.profiler  # the raw record has the order of allocations
    events = [event for event in record.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@contextmanager
def silent() -> Iterator[None]:
    """Discard what is written to the error stream past Python, as by torch's profiler."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def gemm_limit(dtype: torch.dtype, device: torch.device, side: int = 2048, repeats: int = 7) -> tuple[float, str]:
    """FLOP/s of a square matrix product, the most that this machine reaches, and the library that reaches it.

    On the CPU torch's own product (MKL in float32 on x86) and oneDNN's are measured, for either may be the faster one.
    """
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    products: dict[str, Runner] = {"torch": lambda: a @ b}
    if device.type == "cpu":
        products["oneDNN"] = lambda: linear(a, b)
    with torch.no_grad():
        times = {name: min(values) for name, values in interleaved(products, repeats, device).items()}
    name = min(times, key=lambda name: times[name])
    return 2 * side**3 / times[name], name
