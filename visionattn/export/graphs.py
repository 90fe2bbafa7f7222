"""``format=onnx``, ``torch_export`` and ``aot_inductor``: a graph for every batch and every image size, checked.

Each is traced once, with symbols for batch, height and width, and compared with the task itself at three sizes and
three batches. AOTInductor has the run's image size and any batch: with symbols for the sizes of all maps it does not
compile a model of three blocks within a quarter of an hour, because it simplifies their expressions all that time. What
a serving program has to know lies in the file (ONNX) and beside it (``preprocessing.json``).
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._sympy.value_ranges import ValueRanges

from visionattn.errors import CheckpointError, ConfigError
from visionattn.export.graph_modules import Graph, expected, graph_of
from visionattn.export.model import ExportedModel, relative_error
from visionattn.export.score import score_facts

TOLERANCE = 1e-4
BATCHES = (1, 2, 3)
INPUT = "images"
FILES = {"onnx": "model.onnx", "torch_export": "model.pt2", "aot_inductor": "model.aot.pt2"}
ONE_SIZE = ("aot_inductor",)
Runner = Callable[[Tensor], list[Tensor]]


def write(model: ExportedModel, folder: Path, dry_run: bool, format: str) -> dict[str, Any]:
    """Write a graph and ``preprocessing.json``, run it, and compare.

    Returns:
        Facts for the final table; ``relative_error``, the largest of all, as a number.

    Raises:
        ConfigError: a head that is no graph, a package that is missing, or something that cannot be traced.
        CheckpointError: the graph gives other numbers.
    """
    graph = graph_of(model.task, str(model.options.part))
    facts: dict[str, Any] = {
        "graph": (graph.__doc__ or "").strip().splitlines()[0],
        "outputs": ", ".join(graph.outputs),
    }
    check_packages(format)
    if dry_run:
        return facts
    path, about = folder / FILES[format], preprocessing(model, graph)
    tell(f"tracing the model for {format}; a graph of a large model takes minutes")
    compared = [model.image_size] if format in ONE_SIZE else list(sizes(model))
    traced = model.image_size if format in ONE_SIZE else odd_size(model, graph)
    start = time.perf_counter()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own, about themselves
        run = {"onnx": _onnx, "torch_export": _torch_export, "aot_inductor": _aot_inductor}[format](
            graph, resized(model.images[0][:2], traced), path, about
        )
    about_path = folder / "preprocessing.json"
    about_path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    facts["written in"] = f"{time.perf_counter() - start:.0f} s, {path.stat().st_size / 2**20:.1f} MiB"
    tell(f"{path.name} is written ({facts['written in']}); comparing it with the trained model")
    errors = compare(model, graph, run, compared)
    facts["compared on"] = model.images[1]
    for shape, error in errors.items():
        facts[f"relative error at {shape}"] = f"{error:.1e} (allowed {TOLERANCE:.0e})"
    if model.options.part == "model" and format not in ONE_SIZE:
        tell("scoring both on the validation set, where that is small or options.score=true")
        facts |= score_facts(model, lambda images, sizes=None, _=None: graph.prediction(run(images), sizes))
    return facts | {"relative_error": max(errors.values())}


def tell(text: str) -> None:
    """A line of progress on the error stream; the table at the end goes to the output."""
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def check_packages(format: str) -> None:
    """Make sure that the packages of a format are installed.

    Raises:
        ConfigError: ONNX is not.
    """
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if format == "onnx" and missing:
        raise ConfigError(f"format=onnx needs {', '.join(missing)}: pip install 'visionattn[onnx]'")


def preprocessing(model: ExportedModel, graph: Graph) -> dict[str, Any]:
    """What a program that serves the graph has to know: the evaluated protocol, whole, and the classes."""
    about: dict[str, Any] = {
        "input": INPUT,
        "outputs": list(graph.outputs),
        "image_size": list(model.image_size),
        "mean": list(model.preparation.mean),
        "std": list(model.preparation.std),
        "labels": model.class_names,
        "stride": graph.stride,
    }
    protocol = model.protocol()
    short = {name: protocol[name] for name in ("crop_pct", "crop_mode", "interpolation") if name in protocol}
    return about | short | {"protocol": protocol}


def _onnx(graph: Graph, example: Tensor, path: Path, about: dict[str, Any]) -> Runner:
    import onnxruntime

    to_onnx(exported(graph, example), path, list(graph.outputs))
    describe(path, about)
    return runner(onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))


def describe(path: Path, about: dict[str, Any]) -> None:
    """Check an ONNX file and store in it what a program that serves it has to know."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"visionattn": json.dumps(about)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def runner(session: Any) -> Runner:
    """A session of ONNX Runtime as a function of images."""
    return lambda images: [torch.from_numpy(x) for x in session.run(None, {INPUT: images.numpy()})]


def _torch_export(graph: Graph, example: Tensor, path: Path, about: dict[str, Any]) -> Runner:
    torch.export.save(exported(graph, example), path)
    loaded = torch.export.load(path).module()
    return lambda images: _listed(loaded(images))


def _aot_inductor(graph: Graph, example: Tensor, path: Path, about: dict[str, Any]) -> Runner:
    torch._inductor.aoti_compile_and_package(exported(graph, example, axes=(0,)), package_path=str(path))
    loaded = torch._inductor.aoti_load_package(str(path))
    return lambda images: _listed(loaded(images))


def exported(graph: nn.Module, example: Tensor, axes: Sequence[int] = (0, 2, 3)) -> torch.export.ExportedProgram:
    """``torch.export``'s program with symbols for batch, height and width (or some of them), for any that are not 0.

    While it traces, torch asks how tensors lie in memory. There it assumes sizes larger than 1, and would have the
    program refuse all others: one image, or a map of one window. No operator depends on the answers (tests), so these
    conditions are removed.
    """
    dynamic = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    with sdpa_kernel(SDPBackend.MATH):  # whose results lie in memory as those of the operators that replace it
        program = _traced(lambda: torch.export.export(graph, (example,), dynamic_shapes=(dynamic,)))
    program._guards_code.clear()
    for symbol, values in program.range_constraints.items():
        program.range_constraints[symbol] = ValueRanges(1, values.upper)
    return program


def to_onnx(program: torch.export.ExportedProgram, path: Path, outputs: list[str]) -> None:
    """Write one file with the weights in it."""
    converted = _traced(
        lambda: torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
    )
    converted.save(str(path), external_data=False)


def _traced(trace: Callable[[], Any]) -> Any:
    """Trace without any assumption about sizes, not even that they are larger than 1, as torch's ONNX exporter does.

    A map of one window, or of one row, is then as good as any.

    Raises:
        ConfigError: something in the model that no graph can hold; with torch's first line about it.
    """
    from torch.fx.experimental import _config

    settings: Any = _config
    try:
        with torch.no_grad(), settings.patch(backed_size_oblivious=True):
            return trace()
    except (
        RuntimeError,
        NotImplementedError,
        torch._dynamo.exc.TorchDynamoException,
        torch.onnx.OnnxExporterError,
    ) as error:
        lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise ConfigError(
            f"the model cannot become a graph: {type(error).__name__}: {lines[0] if lines else ''}"
        ) from error


def _listed(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def odd_size(model: ExportedModel, graph: Graph) -> tuple[int, int]:
    """What a graph of all sizes is traced with: height and width that nothing relates and nothing divides."""
    height, width = (max(edge, 4 * graph.stride) for edge in model.image_size)
    return height + 3, width + graph.stride + 5


def sizes(model: ExportedModel) -> Iterator[tuple[int, int]]:
    """The run's own image size, a larger one that nothing divides, and one that is higher than wide."""
    height, width = model.image_size
    yield height, width
    yield height + height // 4 + 1, width + width // 3 + 3
    yield height + height // 2, width


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images of another size, bilinearly."""
    return F.interpolate(images, size=size, mode="bilinear")


@torch.no_grad()
def compare(model: ExportedModel, graph: Graph, run: Runner, compared: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Shape of the input -> largest relative error of the outputs, at these sizes and three batches.

    Raises:
        CheckpointError: one of them is too large.
    """
    errors = {}
    for size in compared:
        for batch in BATCHES:
            images = resized(model.images[0][:batch], size)
            images = images if len(images) == batch else images.repeat(batch, 1, 1, 1)[:batch]
            ours = expected(model.task, graph, images)
            shape = "x".join(map(str, images.shape))
            errors[shape] = max(relative_error(a, b) for a, b in zip(ours, run(images), strict=True))
            if not errors[shape] <= TOLERANCE:
                raise CheckpointError(
                    f"the graph differs at {shape}: relative error {errors[shape]:.1e}, allowed {TOLERANCE:.0e}"
                )
    return errors
