"""ONNX Runtime and OpenVINO on the graph that ``visionattn export format=onnx`` writes, with as many threads as torch.

Both get the graph with batch and image size fixed, so that they fold what follows from sizes, and both are compared
with our model's output in float32 before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.benchmarks.timing import Runner
from visionattn.errors import ConfigError
from visionattn.export.graph_modules import traceable
from visionattn.export.graphs import INPUT, exported, to_onnx

Graph = Path
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
_EXTRAS = {"onnxruntime": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}
RUNTIMES = tuple(_EXTRAS)


def write_graph(model: nn.Module, side: int, path: Path) -> Graph:
    """Export our model in float32, with symbols for batch, height and width; a file that is there is kept.

    Args:
        model: ours, on the CPU.
        side: side of the square image.
        path: the file.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        to_onnx(exported(traceable(model).eval(), torch.randn(2, 3, side + 3, side + 37)), path, ["logits"])
    return path


def prepare(
    name: str, model: nn.Module, images: Tensor, dtype: str, graph: Callable[[], Graph]
) -> tuple[Runner, float]:
    """A function that runs the graph on the images, and the relative error of its output.

    Args:
        name: one of :data:`RUNTIMES`.
        model: ours.
        images: ``(B, 3, S, S)`` on the CPU.
        dtype: ``float32`` or ``bfloat16``.
        graph: writes the graph, or finds it.

    Raises:
        ConfigError: the runtime is not installed, has no such type, is not compared on this device, or its output
            differs from ours.
    """
    missing = [package for package in _EXTRAS[name] if find_spec(package) is None]
    if missing:
        extra = "openvino" if name == "openvino" else "onnx"
        raise ConfigError(f"{', '.join(missing)} is not installed: pip install 'visionattn[{extra}]'")
    if images.device.type != "cpu":
        raise ConfigError(f"{name} is compared on the CPU only, not on {images.device.type}")
    if name == "onnxruntime" and dtype != "float32":
        raise ConfigError(f"ONNX Runtime's CPU kernels have no {dtype}")
    run = {"onnxruntime": _onnxruntime, "openvino": _openvino}[name](graph(), images, dtype)
    with torch.inference_mode():
        expected = model.eval()(images)
    error = float((run() - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE[dtype]:
        raise ConfigError(f"its output differs from ours by {error:.1e}, more than {TOLERANCE[dtype]:.0e}")
    return run, error


def _onnxruntime(graph: Path, images: Tensor, dtype: str) -> Callable[[], Tensor]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    dims = onnx.load(graph, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(dims, images.shape, strict=True):
        if dim.dim_param:
            options.add_free_dimension_override_by_name(dim.dim_param, length)
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    array = images.numpy()
    return lambda: torch.from_numpy(session.run(None, {INPUT: array})[0])


def _openvino(graph: Path, images: Tensor, dtype: str) -> Callable[[], Tensor]:
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if dtype == "bfloat16" and "BF16" not in capabilities:
        raise ConfigError(f"OpenVINO has no bfloat16 on this CPU, but {', '.join(capabilities)}")
    model = core.read_model(graph)
    model.reshape(list(images.shape))
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    array = images.numpy()
    return lambda: torch.from_numpy(request.infer({0: array}, share_inputs=True)[0])
