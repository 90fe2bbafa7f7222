"""``format=onnx quantize=int8``: an ONNX file with int8 linear layers, calibrated, compared, scored and timed.

The file has the run's image size and takes any batch. A graph of one size has no index arithmetic, and windows that
tile its maps are permutations, so that its time goes into int8 products.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data import VisionData
from visionattn.errors import CheckpointError, ConfigError, counted
from visionattn.export import graphs, runtimes
from visionattn.export.card import write_model_card
from visionattn.export.graph_modules import Features, Graph, Logits, graph_of
from visionattn.export.int8_speed import speed_facts
from visionattn.export.model import ExportedModel, fitted
from visionattn.export.quantize import Outputs, by_rows, deviation, linear_layers
from visionattn.export.samples import batches_of, evenly, number_of_samples
from visionattn.export.sensitivity import quantize_soundly
from visionattn.export.top1 import top1_facts

NAME = "model.int8.onnx"
USUAL, FEWEST = 128, 8
BATCH = 8


def write(model: ExportedModel, folder: Path, dry_run: bool, images: int | None = None) -> dict[str, Any]:
    """Write ``model.int8.onnx``, ``preprocessing.json`` and a model card, and compare with the trained model.

    Args:
        model: what is exported.
        folder: to write into.
        dry_run: only check what can be checked without tracing.
        images: of the training split, for calibration; None: 128, or all where there are fewer.

    Returns:
        Facts for the final table; ``deviation`` and, of a classifier, ``top1`` and ``top1_of_training`` as numbers.

    Raises:
        ConfigError: a task that is not quantized, no data or too few images, or a package that is missing.
        CheckpointError: the float32 graph differs from the model, or the file gives values that are not finite.
    """
    graph = _checked_graph(model, images)
    facts: dict[str, Any] = {
        "graph": f"{(graph.__doc__ or '').strip().splitlines()[0].rstrip('.')}, {_size(model)} pixels, any batch",
    }
    if dry_run:
        return facts
    images = calibration_size(model, images)
    batches = calibration_batches(model, images)
    source, target = folder / "float.onnx", folder / NAME
    facts |= _trace(model, graph, source)
    graphs.tell(f"calibrating with {counted(images, 'training image')}")
    made = quantize_soundly(source, target, graphs.INPUT, batches, graphs.tell)
    facts |= _quantization(source, made.kept, images, made.error)
    about = graphs.preprocessing(model, graph)
    graphs.describe(target, about | {"quantization": "int8 linear layers"})
    (folder / "preprocessing.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    facts |= _measured(model, graph, source, target, batches, made.expected)
    source.unlink()
    write_model_card(folder, model, {k: v for k, v in facts.items() if isinstance(v, str)}, None, _example(model))
    return facts | {"deviation": made.error}


def _measured(
    model: ExportedModel, graph: Graph, source: Path, target: Path, batches: Sequence[np.ndarray], expected: Outputs
) -> dict[str, Any]:
    """Check the file in the runtimes that are installed, and tell its size, its speed and its accuracy.

    Args:
        model: what is exported.
        graph: of it.
        source: the float32 file.
        target: the int8 file.
        batches: calibration images.
        expected: what the float32 file gives for them.
    """
    facts: dict[str, Any] = {
        "size": f"{target.stat().st_size / 2**20:.1f} MiB, float32 {source.stat().st_size / 2**20:.1f} MiB"
    }
    graphs.tell("measuring images per second")
    facts |= speed_facts(model, graph, source, target)  # first: no other runtime has threads in this process yet
    files = {runtimes.NAMES[runtimes.ONNXRUNTIME]: runtimes.prepare(runtimes.ONNXRUNTIME, target)}
    for run in files.values():
        _check(run, batches[0], graph.outputs)
    if why := runtimes.why_not(runtimes.OPENVINO):
        facts["OpenVINO"] = f"{why}; it was the faster runtime of int8 files, see docs/export.md"
    else:
        name = runtimes.NAMES[runtimes.OPENVINO]
        files[name], facts["deviation in OpenVINO"] = _in_openvino(target, batches, expected, graph.outputs)
    if isinstance(graph, Logits):
        graphs.tell("scoring the trained model and the file on the validation split")
        facts |= top1_facts(model, _data(model), graph, files, BATCH)
    return facts


def _in_openvino(
    target: Path, batches: Sequence[np.ndarray], expected: Outputs, outputs: Sequence[str]
) -> tuple[runtimes.Run, str]:
    """The file in OpenVINO, and how far its outputs deviate from the float32 file's on the calibration images.

    Raises:
        ConfigError: OpenVINO does not take the file.
        CheckpointError: it gives values that are not finite.
    """
    dtype = runtimes.beside_int8(runtimes.OPENVINO)
    run = runtimes.prepare(runtimes.OPENVINO, target, dtype=dtype)
    _check(run, batches[0], outputs)
    error = deviation(expected, [run(batch) for batch in batches])
    return run, f"{error:.2%}; what is not int8 is {dtype} there"


def _checked_graph(model: ExportedModel, images: int | None) -> Graph:
    graphs.check_packages("onnx")
    graph = graph_of(model.task, str(model.options.part))
    if not isinstance(graph, Logits | Features):
        raise ConfigError(
            f"quantize=int8 takes classification models, not a {type(model.task.head).__name__}; "
            "options.part=features quantizes the backbone alone"
        )
    if images is not None and images < FEWEST:
        raise ConfigError(f"calibration_images is at least {FEWEST}, got {images}")
    if model.options.push_to_hub:
        raise ConfigError("options.push_to_hub does not go with quantize=int8: upload the folder by hand")
    by_rows(graph)
    return graph


def _data(model: ExportedModel) -> VisionData[Any]:
    if model.data is None:
        raise ConfigError(
            "quantize=int8 calibrates with training images, and the run's data are not on this machine: "
            "say where they are (data.root=DIR) or choose others (data=NAME)"
        )
    return model.data


def calibration_size(model: ExportedModel, asked: int | None) -> int:
    """How many images of the training split the ranges are taken from.

    Raises:
        ConfigError: there are no data, or too few images.
        DataError: the training split cannot be read.
    """
    count = number_of_samples(_data(model), "train")
    if count < FEWEST:
        raise ConfigError(f"quantize=int8 needs {FEWEST} training images, and there are {count}: choose other data")
    if asked is not None and count < asked:
        raise ConfigError(
            f"calibration_images={asked}, but the training split has {counted(count, 'image')}: "
            f"give calibration_images={count} or other data"
        )
    return min(count, USUAL) if asked is None else asked


def calibration_batches(model: ExportedModel, images: int) -> list[np.ndarray]:
    """Images evenly spaced over the training split, through the evaluation transform: batches ``(B, C, H, W)``."""
    data = _data(model)
    batches = batches_of(data, "train", evenly(number_of_samples(data, "train"), images), BATCH)
    return [fitted(list(batch["image"]), model.image_size).numpy() for batch in batches]


def _trace(model: ExportedModel, graph: Graph, path: Path) -> dict[str, Any]:
    """Write the float32 file, and compare it with the model at three batches."""
    graphs.tell("tracing the model; a graph of a large model takes minutes")
    program = graphs.exported(graph, graphs.resized(model.images[0][:2], model.image_size), axes=(0,))
    graphs.to_onnx(program, path, list(graph.outputs))
    errors = graphs.compare(model, graph, graphs.runner(runtimes.session_of(path)), [model.image_size])
    return {"relative error before quantization": f"{max(errors.values()):.1e} (allowed {graphs.TOLERANCE:.0e})"}


def _quantization(source: Path, kept: Sequence[str], images: int, error: float) -> dict[str, Any]:
    layers = len(linear_layers(source))
    names = f"; in float32: {', '.join(kept)}" if kept else ""
    return {
        "int8": f"{layers - len(kept)} of {layers} linear layers{names}",
        "calibrated with": f"{counted(images, 'image')}, evenly spaced over the training split",
        "deviation of the outputs": f"{error:.2%}, root mean square on the calibration images",
    }


def _check(run: runtimes.Run, images: np.ndarray, outputs: Sequence[str]) -> None:
    """Run the file at other batches than it was traced with.

    Raises:
        CheckpointError: something that it gives is not finite, or of another batch.
    """
    for batch in graphs.BATCHES:
        for name, found in zip(outputs, run(images[:batch]), strict=True):
            if len(found) != batch or not np.isfinite(found).all():
                raise CheckpointError(f"the int8 file gives {name} that are not finite, or not of {batch} images")


def _size(model: ExportedModel) -> str:
    return "x".join(map(str, model.image_size))


def _example(model: ExportedModel) -> list[str]:
    height, width = model.image_size
    return [
        "```python",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{NAME}", providers=["CPUExecutionProvider"])',
        f'outputs = session.run(None, {{"{graphs.INPUT}": images}})  # float32 (B, C, H, W), see preprocessing.json',
        "```",
        "",
        "OpenVINO was the faster one on CPUs with VNNI and bfloat16:",
        "",
        "```python",
        "import openvino",
        "",
        "core = openvino.Core()",
        f'model = core.read_model("{NAME}")',
        f"model.reshape([1, {model.images[0].shape[1]}, {height}, {width}])  # the batch that is used",
        'bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")',
        'settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}',
        'outputs = core.compile_model(model, "CPU", settings)(images)',
        "```",
    ]
