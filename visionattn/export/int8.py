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
import torch

from visionattn.data import VisionData
from visionattn.errors import CheckpointError, ConfigError, counted
from visionattn.export import graphs
from visionattn.export.card import write_model_card
from visionattn.export.graph_modules import Features, Graph, Logits, expected, graph_of
from visionattn.export.model import ExportedModel, fitted
from visionattn.export.quantize import by_rows, linear_layers, session_of
from visionattn.export.samples import batches_of, evenly, number_of_samples
from visionattn.export.score import AUTO, FEW_PIXELS
from visionattn.export.sensitivity import quantize_soundly
from visionattn.export.speed import images_per_second

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
    kept, deviation = quantize_soundly(source, target, graphs.INPUT, batches, graphs.tell)
    facts |= _quantization(source, kept, images, deviation)
    about = graphs.preprocessing(model, graph)
    graphs.describe(target, about | {"quantization": "int8 linear layers"})
    (folder / "preprocessing.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    facts |= _measured(model, graph, source, target, batches[0])
    source.unlink()
    write_model_card(folder, model, {k: v for k, v in facts.items() if isinstance(v, str)}, None, _example())
    return facts | {"deviation": deviation}


def _measured(model: ExportedModel, graph: Graph, source: Path, target: Path, images: np.ndarray) -> dict[str, Any]:
    """Check the file, and tell its size, its accuracy and its speed."""
    session = session_of(target)
    _check(session, images, graph.outputs)
    facts: dict[str, Any] = {
        "size": f"{target.stat().st_size / 2**20:.1f} MiB, float32 {source.stat().st_size / 2**20:.1f} MiB"
    }
    if isinstance(graph, Logits):
        graphs.tell("scoring the trained model and the file on the validation split")
        facts |= scores(model, graph, session)
    graphs.tell("measuring images per second")
    return facts | _speed(model, graph, source, session)


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
    errors = graphs.compare(model, graph, graphs.runner(session_of(path)), [model.image_size])
    return {"relative error before quantization": f"{max(errors.values()):.1e} (allowed {graphs.TOLERANCE:.0e})"}


def _quantization(source: Path, kept: Sequence[str], images: int, deviation: float) -> dict[str, Any]:
    layers = len(linear_layers(source))
    names = f"; in float32: {', '.join(kept)}" if kept else ""
    return {
        "int8": f"{layers - len(kept)} of {layers} linear layers{names}",
        "calibrated with": f"{counted(images, 'image')}, evenly spaced over the training split",
        "deviation of the outputs": f"{deviation:.2%}, root mean square on the calibration images",
    }


def _check(session: Any, images: np.ndarray, outputs: Sequence[str]) -> None:
    """Run the file at other batches than it was traced with.

    Raises:
        CheckpointError: something that it gives is not finite, or of another batch.
    """
    for batch in graphs.BATCHES:
        for name, found in zip(outputs, session.run(None, {graphs.INPUT: images[:batch]}), strict=True):
            if len(found) != batch or not np.isfinite(found).all():
                raise CheckpointError(f"the int8 file gives {name} that are not finite, or not of {batch} images")


@torch.no_grad()
def scores(model: ExportedModel, graph: Graph, session: Any) -> dict[str, Any]:
    """Top-1 of the trained model and of the file, on the validation split or, where that is large, on a part of it.

    Raises:
        ConfigError: ``options.score`` is not auto, true or false.
    """
    wanted: Any = model.options.get("score", AUTO)
    if wanted not in (AUTO, True, False):
        raise ConfigError(f"options.score is auto, true or false, got {wanted!r}")
    if wanted is False:
        return {}
    data, (height, width) = _data(model), model.image_size
    split = data.evaluation_split
    count = number_of_samples(data, split)
    positions = evenly(count, count if wanted is True else max(1, FEW_PIXELS // (height * width)))
    right, right_in_int8, same, total = 0, 0, 0, 0
    for batch in batches_of(data, split, positions, BATCH):
        ours = expected(model.task, graph, batch["image"])[0].argmax(1)
        theirs = torch.from_numpy(session.run(None, {graphs.INPUT: batch["image"].numpy()})[0]).argmax(1)
        target = batch["target"]
        right, right_in_int8 = right + int((ours == target).sum()), right_in_int8 + int((theirs == target).sum())
        same, total = same + int((ours == theirs).sum()), total + len(target)
    before, after = 100 * right / total, 100 * right_in_int8 / total
    where = "validation images" if total == count else f"of {count:,} validation images; options.score=true takes all"
    return {
        "top1 of the trained model": f"{before:.2f} on {total:,} {where}",
        "top1 of the int8 file": f"{after:.2f} ({after - before:+.2f} points; the same class on {same / total:.2%})",
        "top1": after,
        "top1_of_training": before,
    }


@torch.inference_mode()
def _speed(model: ExportedModel, graph: Graph, source: Path, session: Any) -> dict[str, Any]:
    """Images per second at batch 1, on as many threads as torch takes."""
    image = model.images[0][:1]
    feed, before = {graphs.INPUT: image.numpy()}, session_of(source)

    def in_bfloat16() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return expected(model.task, graph, image)

    found = images_per_second(
        {
            "int8": lambda: session.run(None, feed),
            "float32 in ONNX Runtime": lambda: before.run(None, feed),
            "visionattn float32": lambda: expected(model.task, graph, image),
            "visionattn bfloat16": in_bfloat16,
        }
    )
    threads = counted(torch.get_num_threads(), "thread")
    told = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    return {"images/s": f"{told} (one image at a time, {threads})"}


def _size(model: ExportedModel) -> str:
    return "x".join(map(str, model.image_size))


def _example() -> list[str]:
    return [
        "```python",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{NAME}", providers=["CPUExecutionProvider"])',
        f'outputs = session.run(None, {{"{graphs.INPUT}": images}})  # float32 (B, C, H, W), see preprocessing.json',
        "```",
    ]
