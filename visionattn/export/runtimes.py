"""ONNX files on the CPU in the two runtimes that are compared: ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.errors import ConfigError

Run = Callable[[np.ndarray], list[np.ndarray]]
"""Images ``(B, C, H, W)`` -> what the graph gives for them."""
ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
NAMES = {ONNXRUNTIME: "ONNX Runtime", OPENVINO: "OpenVINO"}
_PACKAGES = {ONNXRUNTIME: ("onnx", "onnxruntime", "onnxscript"), OPENVINO: ("openvino", "onnx", "onnxscript")}
_EXTRAS = {ONNXRUNTIME: "onnx", OPENVINO: "openvino"}
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def why_not(runtime: str) -> str:
    """What has to be installed for a runtime; an empty string where it is."""
    missing = [package for package in _PACKAGES[runtime] if find_spec(package) is None]
    told = f"{', '.join(missing)} is not installed: pip install 'visionattn[{_EXTRAS[runtime]}]'"
    return told if missing else ""


def session_of(path: Path, threads: int = 0, shape: Sequence[int] | None = None) -> Any:
    """A session of ONNX Runtime on the CPU.

    Args:
        path: the file.
        threads: 0: as many as torch takes.
        shape: of the images to come, so that what follows from it is computed once; None: any that the file takes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads or _threads(), 1
    if shape is not None:
        import onnx

        dims = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
        for dim, length in zip(dims, shape, strict=True):
            if dim.dim_param:
                options.add_free_dimension_override_by_name(dim.dim_param, length)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def openvino_types() -> tuple[str, ...]:
    """Types that OpenVINO computes in on this CPU where int8 and int4 do not: float32, and bfloat16 if it has it."""
    import openvino

    known = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("float32", "bfloat16") if "BF16" in known else ("float32",)


def beside_int8(runtime: str) -> str:
    """The type of what is not int8 in a runtime: bfloat16 in OpenVINO where the CPU has it, else float32."""
    return openvino_types()[-1] if runtime == OPENVINO else "float32"


def prepare(runtime: str, path: Path, threads: int = 0, dtype: str = "float32") -> Run:
    """A function that runs a file.

    Every shape is compiled once, in OpenVINO and in ONNX Runtime, and the last one is kept.

    Args:
        runtime: ``onnxruntime`` or ``openvino``.
        path: the file.
        threads: 0: as many as torch takes.
        dtype: of what is not int8: ``float32``, in OpenVINO also ``bfloat16``.

    Raises:
        ConfigError: the runtime is not installed, or does not take the file.
    """
    if why := why_not(runtime):
        raise ConfigError(why)
    build = {ONNXRUNTIME: _onnxruntime, OPENVINO: _openvino}[runtime]
    made: dict[tuple[int, ...], Run] = {}

    def run(images: np.ndarray) -> list[np.ndarray]:
        if images.shape not in made:
            made.clear()
            try:
                made[images.shape] = build(path, threads or _threads(), dtype, images.shape)
            except Exception as error:  # the runtimes have exceptions of their own
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                told = lines[-1] if lines else type(error).__name__
                raise ConfigError(f"{NAMES[runtime]} does not take the file: {told}") from error
        return made[images.shape](images)

    return run


def _onnxruntime(path: Path, threads: int, dtype: str, shape: Sequence[int]) -> Run:
    if dtype != "float32":
        raise ValueError(f"its CPU kernels have no {dtype}")
    session = session_of(path, threads, shape)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def _openvino(path: Path, threads: int, dtype: str, shape: Sequence[int]) -> Run:
    import openvino

    if dtype not in openvino_types():
        raise ValueError(f"it has no {dtype} on this CPU")
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(shape))
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[dtype],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(images: np.ndarray) -> list[np.ndarray]:
        found = request.infer({0: images}, share_inputs=True)
        return [np.array(found[i]) for i in range(len(found))]

    return run


def _threads() -> int:
    import torch

    return torch.get_num_threads()
