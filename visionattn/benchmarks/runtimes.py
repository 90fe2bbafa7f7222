"""ONNX Runtime and OpenVINO on the graph that ``visionattn export format=onnx`` writes, with as many threads as torch.

Both get the graph with batch and image size fixed, so that they fold what follows from sizes, and both are compared
with our model's output in float32. Each is timed in a process of its own (:mod:`visionattn.export.speed`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

import visionattn
from visionattn.errors import ConfigError
from visionattn.export import runtimes
from visionattn.export.graph_modules import traceable
from visionattn.export.graphs import INPUT, exported, tell, to_onnx
from visionattn.export.quantize import by_rows, deviation, linear_layers, quantize
from visionattn.export.speed import apart
from visionattn.files import whole

INT8 = "int8"
RUNTIMES = tuple(runtimes.NAMES)
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, INT8: 0.1}
_ROOMS = ("attention", "backbones", "conf", "export", "kernels")
CALIBRATION = (4, 8)
"""Batches of noise, and images in each: enough for speed, and no measure of a trained model's accuracy."""


def write_graph(model: nn.Module, side: int, folder: Path, dtype: str) -> Path:
    """Export our model, for every batch and size in float32, for every batch in int8; the model's own file is kept.

    The file's name tells the weights, the code and the versions that it comes from. One of others is replaced.

    Args:
        model: ours, on the CPU.
        side: side of the square image.
        folder: of the file.
        dtype: ``int8``: linear layers in int8, calibrated on noise; another one: float32.

    Returns:
        The file.
    """
    ending = f"{INT8}.onnx" if dtype == INT8 else "onnx"
    path = folder / f"{side}-{_origin(model)}.{ending}"
    if path.exists():
        return path
    others = [file for file in folder.glob(f"{side}-*") if re.fullmatch(rf"{side}-[0-9a-f]{{12}}\.{ending}", file.name)]
    for other in others:
        tell(f"{other} is of other weights, code or versions: it is written anew")
        other.unlink()
    with whole(path) as draft:
        _write_int8(model, side, draft) if dtype == INT8 else _write_float32(model, side, draft)
    return path


def _write_float32(model: nn.Module, side: int, path: Path) -> None:
    to_onnx(exported(traceable(model).eval(), torch.randn(2, 3, side + 3, side + 37)), path, ["logits"])


def _write_int8(model: nn.Module, side: int, path: Path) -> None:
    count, size = CALIBRATION
    noise = [torch.randn(size, 3, side, side).numpy() for _ in range(count)]
    program = exported(by_rows(traceable(model)).eval(), torch.randn(2, 3, side, side), axes=(0,))
    with TemporaryDirectory(prefix="visionattn-") as temporary:
        source = Path(temporary, "one_size.onnx")
        to_onnx(program, source, ["logits"])
        quantize(source, path, INPUT, noise, linear_layers(source))


def _origin(model: nn.Module) -> str:
    """A mark of the weights of a model, of the code and configurations that it was built by, and of the exporters."""
    found = hashlib.sha256(_code())
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:12]


@cache
def _code() -> bytes:
    """A checksum of the files and the versions that a graph depends on besides the weights."""
    package, found = Path(visionattn.__file__).parent, hashlib.sha256()
    for file in sorted(file for room in _ROOMS for file in (package / room).rglob("*")):
        if file.suffix in (".py", ".yaml"):
            found.update(f"{file.relative_to(package).as_posix()} ".encode() + file.read_bytes())
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        with suppress(PackageNotFoundError):
            found.update(f"{name} {version(name)}".encode())
    return found.digest()


def measure(
    name: str, model: nn.Module, images: Tensor, dtype: str, graph: Callable[[], Path], rounds: int
) -> tuple[float, float]:
    """Seconds that a runtime takes for the images, and the relative error of its output.

    Args:
        name: one of :data:`RUNTIMES`.
        model: ours.
        images: ``(B, 3, S, S)`` on the CPU.
        dtype: ``float32``, ``bfloat16`` or ``int8``, whose other work is bfloat16 in OpenVINO where the CPU has it.
        graph: writes the graph, or finds it.
        rounds: the median is taken over them.

    Raises:
        ConfigError: the runtime is not installed, has no such type, is not compared on this device, or its output
            differs from ours.
    """
    if why := runtimes.why_not(name):
        raise ConfigError(why)
    if images.device.type != "cpu":
        raise ConfigError(f"{name} is compared on the CPU only, not on {images.device.type}")
    if name == runtimes.ONNXRUNTIME and dtype == "bfloat16":
        raise ConfigError("ONNX Runtime's CPU kernels have no bfloat16")
    rest = runtimes.beside_int8(name) if dtype == INT8 else dtype
    ((rate, (found,)),) = apart(name, graph(), [images.numpy()], torch.get_num_threads(), rest, rounds)
    with torch.inference_mode():
        expected = model.eval()(images).numpy()
    largest = float(np.abs(found - expected).max() / np.abs(expected).max())
    error = deviation([[expected]], [[found]]) if dtype == INT8 else largest
    if not error <= TOLERANCE[dtype]:
        raise ConfigError(f"its output differs from ours by {error:.1e}, more than {TOLERANCE[dtype]:.0e}")
    return len(images) / rate, error
