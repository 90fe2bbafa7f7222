"""Recorded outputs of the published code, and weights made from the published parameter names.

Each JSON here holds the names and shapes of a published state dict and, for some input sizes, the logits that the
published code gave with the weights that :func:`published_state` makes. The weights depend on the names alone, so
importer and model are proved together and no tensors have to be kept. Indices, masks and caches are not listed.

    published = recorded("nat_mini")
    visionattn.load_weights(model, published_state(published))
    for case in published["cases"]:
        assert relative_error(model(image_of(case)), case) < 1e-5

The files in ``parts`` are of single modules: their cases hold the shapes of the inputs, and of the output its shape,
its norm and 256 of its numbers.

    published = recorded("parts/flow_attention")
    for case in published["cases"]:
        assert relative_error(module(*inputs_of(case)), case) < 1e-5
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = pathlib.Path(__file__).parent


def recorded(name: str) -> dict[str, Any]:
    """What was recorded of a model: ``params``, ``source``, ``state`` (name, shape, dtype) and ``cases``."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def drawn(name: str, shape: list[int], gain: Sequence[tuple[str, Any]] = ()) -> Tensor:
    """The weight of one published name, the same on every machine.

    Normal numbers, seeded by a hash of the name and scaled by what the name says: matrices and kernels have the
    variance 1 / fan-in, biases and running means the deviation 0.1, other vectors lie around 1 by 0.1, variances are
    positive. ``gain`` holds a recording's own pairs of an ending and what weights with it become: multiplied by a
    number, their absolute value (``abs``), or kernels although all dimensions but one are 1 (``kernel``).
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    normal = np.random.RandomState(seed).standard_normal(math.prod(shape)).reshape(shape)
    values, kind = normal.copy(), name.rpartition(".")[2]
    if len(shape) >= 2 and math.prod(shape) != max(shape):
        values /= math.sqrt(math.prod(shape[1:]))
    elif kind.endswith("bias") or kind == "running_mean":
        values *= 0.1
    else:
        values = 1 + 0.1 * values
    if kind == "running_var":
        values = np.abs(values)
    if name.endswith("pos_emb_funct.cpb_mlp.2.weight"):  # FasterViT: else its bias of 8 hides the carrier tokens
        values = -np.abs(values)
    for ending, factor in gain:
        if name.endswith(ending):
            values = _changed(values, factor, normal / math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy(values.astype(np.float32))


def _changed(values: np.ndarray, factor: Any, kernel: np.ndarray) -> np.ndarray:
    if isinstance(factor, str):
        return {"abs": np.abs(values), "kernel": kernel}[factor]
    return factor * values


def published_state(published: dict[str, Any]) -> dict[str, Tensor]:
    """Published name -> weight."""
    assert not any("int" in dtype or "bool" in dtype for _, _, dtype in published["state"])
    return {name: drawn(name, shape, published.get("gain", ())) for name, shape, _ in published["state"]}


def image_of(case: dict[str, Any]) -> Tensor:
    """The two images ``(2, 3, H, W)`` of a recorded case."""
    pixels = np.random.RandomState(case["seed"]).standard_normal((2, 3, *case["size"]))
    return torch.from_numpy(pixels.astype(np.float32))


def inputs_of(case: dict[str, Any]) -> list[Tensor]:
    """The inputs of a module's recorded case."""
    draws = (np.random.RandomState(case["seed"] + i).standard_normal(shape) for i, shape in enumerate(case["shapes"]))
    return [torch.from_numpy(numbers.astype(np.float32)) for numbers in draws]


def relative_error(output: Tensor, case: dict[str, Any]) -> float:
    """Distance from what was recorded, relative to its norm.

    Of a model that are the first 32 logits of both images; of a module 256 numbers of its output, and the norm of all.
    """
    if "values" in case:
        assert list(output.shape) == case["output_shape"]
        output, places = output.double(), np.random.RandomState(1).randint(0, output.numel(), size=256)
        of_norm = abs(float(output.norm()) / case["norm"] - 1)
        return max(of_norm, _relative(output.flatten()[torch.from_numpy(places.astype(np.int64))], case["values"]))
    return _relative(output[:, : len(case["logits"][0])].double(), case["logits"])


def _relative(found: Tensor, recorded: Any) -> float:
    want = torch.tensor(recorded, dtype=torch.float64)
    return float((found - want).norm() / want.norm())
