"""Images per second of an int8 file beside the float32 file and beside visionattn itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionattn.errors import counted
from visionattn.export import runtimes
from visionattn.export.graph_modules import Graph, expected
from visionattn.export.model import ExportedModel
from visionattn.export.speed import apart, images_per_second

BATCHES = (1, 8)


def speed_facts(model: ExportedModel, graph: Graph, source: Path, target: Path) -> dict[str, str]:
    """Images per second at each of :data:`BATCHES`, on as many threads as torch takes.

    Files run in processes of their own while torch's threads sleep; visionattn runs here. No other runtime may have
    threads in this process.

    Args:
        model: the trained model.
        graph: what was traced.
        source: the float32 file.
        target: the int8 file.

    Raises:
        ConfigError: a runtime that is installed does not take a file.
    """
    images, threads = model.images[0], torch.get_num_threads()
    batches = [images.repeat(-(-size // len(images)), 1, 1, 1)[:size] for size in BATCHES]
    rates: dict[str, list[float]] = {}
    if not runtimes.why_not(runtimes.OPENVINO):
        rates["int8 in OpenVINO"] = _rates(runtimes.OPENVINO, target, batches, threads)
    rates["int8 in ONNX Runtime"] = _rates(runtimes.ONNXRUNTIME, target, batches, threads)
    rates["float32 in ONNX Runtime"] = _rates(runtimes.ONNXRUNTIME, source, batches, threads)
    for batch in batches:
        for name, rate in images_per_second(_forms(model, graph, batch), len(batch)).items():
            rates.setdefault(name, []).append(rate)
    return {
        f"images/s, batch {size}": ", ".join(f"{name} {found[i]:.4g}" for name, found in rates.items())
        for i, size in enumerate(BATCHES)
    } | {"measured": f"on {counted(threads, 'thread')}, each runtime in a process of its own"}


def _rates(runtime: str, path: Path, batches: Sequence[Tensor], threads: int) -> list[float]:
    dtype = runtimes.beside_int8(runtime)
    return [rate for rate, _ in apart(runtime, path, [batch.numpy() for batch in batches], threads, dtype)]


def _forms(model: ExportedModel, graph: Graph, images: Tensor) -> dict[str, Callable[[], object]]:
    """Forms of the model itself: float32, bfloat16 as it trains, and with weights and maps in bfloat16."""
    halved = copy.deepcopy(model.task).to(torch.bfloat16)

    def ours(task: Any, images: Tensor, autocast: bool) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return expected(task, graph, images)

    return {
        "visionattn float32": partial(ours, model.task, images, False),
        "visionattn bfloat16": partial(ours, model.task, images, True),
        "visionattn bfloat16 weights": partial(ours, halved, images.to(torch.bfloat16), False),
    }
