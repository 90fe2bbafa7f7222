"""Which linear layers stay float32 because int8 would change a model's outputs too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionattn.export.quantize import Outputs, deviation, linear_layers, outputs_of, quantize
from visionattn.export.runtimes import session_of

LIMIT = 0.1
"""Root mean square deviation of the outputs on calibration images, relative to theirs, up to which nothing is kept."""
SHARES = (0.05, 0.1, 0.2, 0.4)
"""Shares of the layers that are tried as float32, the most harmful ones first."""


class Quantized(NamedTuple):
    """What came of a quantization.

    Attributes:
        kept: names of the layers that stay float32.
        error: deviation of the outputs on the calibration images.
        expected: what the float32 file gives for these images.
    """

    kept: list[str]
    error: float
    expected: Outputs


def quantize_soundly(
    source: Path,
    target: Path,
    name: str,
    batches: Sequence[np.ndarray],
    tell: Callable[[str], None],
    limit: float = LIMIT,
) -> Quantized:
    """Quantize a file, and leave the layers that do most harm in float32 until its outputs deviate little.

    Args:
        source: the float32 file.
        target: the file to write.
        name: of the input.
        batches: calibration images.
        tell: prints a line.
        limit: see :data:`LIMIT`.

    Returns:
        The layers that stay float32 and the deviation that is left; it exceeds the limit where two fifths of the layers
        do not suffice.
    """
    layers, expected = linear_layers(source), outputs_of(session_of(source), name, batches)

    def attempt(kept: Sequence[str]) -> float:
        quantize(source, target, name, batches, [layer for layer in layers if layer not in kept])
        return deviation(expected, outputs_of(session_of(target), name, batches))

    error = attempt(())
    if error <= limit:
        return Quantized([], error, expected)
    tell(f"the outputs deviate by {error:.1%}, more than {limit:.0%}: looking for the layers that do most harm")
    ranked, kept = _ranked(source, target, name, batches[:2], expected[:2], layers), list[str]()
    for share in SHARES:
        kept = ranked[: max(1, round(share * len(layers)))]
        error = attempt(kept)
        tell(f"with {len(kept)} of {len(layers)} layers in float32: {error:.1%}")
        if error <= limit:
            break
    return Quantized(kept, error, expected)


def _ranked(
    source: Path, target: Path, name: str, batches: Sequence[np.ndarray], expected: Outputs, layers: Sequence[str]
) -> list[str]:
    """The layers, those first whose return to float32 takes most of the deviation away."""
    import onnx

    whole, origin = onnx.load(target), onnx.load(source)
    trial = target.with_name("trial.onnx")
    left: dict[str, float] = {}
    for layer in layers:
        onnx.save(_returned(whole, origin, layer), trial)
        left[layer] = deviation(expected, outputs_of(session_of(trial), name, batches))
    trial.unlink()
    return sorted(layers, key=lambda layer: left[layer])


def _returned(quantized: Any, origin: Any, layer: str) -> Any:
    """A quantized model whose node ``layer`` has the inputs that it has in the original one."""
    model = type(quantized)()
    model.CopyFrom(quantized)
    theirs = next(node for node in origin.graph.node if node.name == layer)
    ours = next(node for node in model.graph.node if node.name == layer)
    weights = {tensor.name: tensor for tensor in origin.graph.initializer}
    for place, name in enumerate(theirs.input):
        if name in weights:  # its name may belong to what int8 values become
            weight = model.graph.initializer.add()
            weight.CopyFrom(weights[name])
            weight.name = name = f"{name}.float32"
        ours.input[place] = name
    return model
