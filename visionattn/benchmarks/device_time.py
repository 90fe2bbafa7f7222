"""Time on the device alone: a call captured in a CUDA graph and replayed, without Python and without launches.

The wall time of a call on a GPU is the longer of the host's work and the device's. Here the host is taken away. What
cannot be captured is measured by torch's profiler, as the sum of its kernels; a row says which of the two it was. On
the CPU both times are the same.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from visionattn.benchmarks.timing import Runner, interleaved

GRAPH, PROFILER, WALL = "CUDA graph", "profiler", "wall"
MINIMUM = 1e-3
"""Seconds that a graph takes at least: a shorter call is captured several times, for a launch costs some µs."""
MOST = 32
LARGEST = 1 << 30


@dataclass(frozen=True)
class DeviceTime:
    """Seconds of a call on its device, one of each replay.

    Attributes:
        seconds: each replay's.
        how: ``CUDA graph``, ``profiler``, or ``wall`` on the CPU.
        reason: why no graph could be captured, in one line.
    """

    seconds: list[float]
    how: str
    reason: str = ""


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """What runs within has a CUDA stream of its own, which :func:`device_times` also captures.

    Autograd adds a leaf's gradient up on the stream on which the leaf was first used; were that the default stream,
    the graph of a backward pass could not be captured.
    """
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def device_times(
    runners: dict[str, Runner], wall: dict[str, list[float]], device: torch.device, replays: int = 20
) -> dict[str, DeviceTime]:
    """Measure the device time of each runner.

    Args:
        runners: name to function; each has run before.
        wall: name to seconds on the wall, see :func:`visionattn.benchmarks.timing.interleaved`.
        device: where the runners run.
        replays: replays of a graph, each timed.
    """
    if device.type != "cuda":
        return {name: DeviceTime(list(wall[name]), WALL) for name in runners}
    return {name: _measure(run, replays) for name, run in runners.items()}


def _measure(run: Runner, replays: int) -> DeviceTime:
    stream = torch.cuda.current_stream()
    try:
        _check_asynchronous(run)
        return DeviceTime(_replayed(run, replays), GRAPH)
    except Exception as error:  # noqa: BLE001 - whatever a library does that a graph cannot hold
        torch.cuda.set_stream(stream)  # a capture that fails leaves its own
        torch.cuda.synchronize()
        return DeviceTime([_profiled(run)], PROFILER, _reason(error))
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _reason(error: BaseException) -> str:
    """The first line of the first error: those that follow it say only that the capture had failed."""
    while error.__context__ is not None:
        error = error.__context__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def _check_asynchronous(run: Runner) -> None:
    """Run once, and raise if the host waits for the device.

    That is what most often cannot be captured. A capture that begins and fails is not free of consequences: torch's
    random numbers on the device, which it takes for captured ones, are refused from then on.
    """
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def _replayed(run: Runner, replays: int) -> list[float]:
    """Seconds of each replay, divided by the calls that the graph holds."""
    stream = torch.cuda.current_stream()
    if stream == torch.cuda.default_stream():  # which cannot be captured
        stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    once = _capture(run, 1, stream)
    seconds = min(_events(once.replay) for _ in range(3))
    calls = max(1, min(MOST, round(MINIMUM / max(seconds, 1e-7))))
    graph = once if calls == 1 else _capture(run, calls, stream)
    graph.replay()
    return [_events(graph.replay) / calls for _ in range(replays)]


def _capture(run: Runner, calls: int, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(calls):
                run()
    except Exception:
        _end_captures()
        raise
    return graph


def _end_captures() -> None:
    """After a capture that failed: one that does not gives the device its random numbers back."""
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):
        torch.empty(1, device="cuda").zero_()


def _events(run: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def _profiled(run: Runner, calls: int = 3) -> float:
    """Seconds that the device is busy with one call."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    run()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
    kernels = (event for event in profile.key_averages() if event.device_type == torch.autograd.DeviceType.CUDA)
    busy = sum(event.self_device_time_total for event in kernels if not event.is_user_annotation)
    return busy / 1e6 / calls


def copy_rate(device: torch.device, size: int | None = None, repeats: int = 7) -> float:
    """Bytes per second that a large copy reads and writes: the most that this device's memory gives.

    Args:
        device: whose memory.
        size: bytes of the tensor that is copied; None: 1 GiB on CUDA, 128 MiB on the CPU.
        repeats: copies, of which the fastest counts.
    """
    size = size or (LARGEST if device.type == "cuda" else LARGEST >> 3)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = interleaved({"copy": lambda: target.copy_(source)}, repeats, device)
    return 2 * size / min(times["copy"])
