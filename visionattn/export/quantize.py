"""Post-training quantization of an ONNX file to int8, by ONNX Runtime.

The weights of linear layers are int8 with a scale per output channel. The tensors that enter these layers are uint8
with one scale and zero point, from the range that the calibration images give them. What a linear layer gives is
float32 again: ONNX Runtime then computes layer and bias in one int8 product, and attention, softmax, norms, GELU and
convolutions stay as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

Outputs = Sequence[Sequence[np.ndarray]]
"""Batch -> what a session gives for it, output by output."""
LINEAR = ("MatMul", "Gemm")
"""Operators of linear layers; a MatMul of two computed tensors, as in attention, is none."""


class RowLinear(nn.Linear):
    """``torch.nn.Linear`` on rows: in a graph it is one ``Gemm`` with its bias instead of a product and a sum.

    Shape:
        ``(..., C) -> (..., E)``
    """

    def forward(self, input: Tensor) -> Tensor:
        rows = F.linear(input.flatten(0, -2), self.weight, self.bias)
        return rows.unflatten(0, input.shape[:-1])


def by_rows(module: nn.Module) -> nn.Module:
    """Replace every linear layer of a module by a :class:`RowLinear` with its parameters, in place."""
    for part in list(module.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.Linear) and child.bias is not None:
                rows = RowLinear(child.in_features, child.out_features, device="meta")
                rows.weight, rows.bias = child.weight, child.bias
                setattr(part, name, rows)
    return module


def linear_layers(path: Path) -> list[str]:
    """Names of the nodes of a file that multiply with weights."""
    import onnx

    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type in LINEAR and weights & set(node.input)]


def quantize(source: Path, target: Path, name: str, batches: Iterable[np.ndarray], layers: Sequence[str]) -> None:
    """Write a file whose linear layers are int8.

    Args:
        source: the float32 file.
        target: the file to write.
        name: of the input.
        batches: calibration images, ``(B, C, H, W)`` each.
        layers: names of the nodes that become int8; see :func:`linear_layers`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter(batches)

        def get_next(self) -> Any:
            return next(({name: batch} for batch in self.batches), None)

    with _quiet():
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LINEAR),
            nodes_to_quantize=list(layers),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": list(LINEAR)},
        )


def outputs_of(session: Any, name: str, batches: Iterable[np.ndarray]) -> Outputs:
    """What a session gives for every batch."""
    return [session.run(None, {name: batch}) for batch in batches]


def deviation(ours: Outputs, theirs: Outputs) -> float:
    """Root mean square of the difference, relative to that of ours; the largest of the outputs, over all batches."""
    errors = []
    for one, other in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        power = sum(float(np.square(x, dtype=np.float64).sum()) for x in one)
        error = sum(float(np.square(y - x, dtype=np.float64).sum()) for x, y in zip(one, other, strict=True))
        errors.append((error / max(power, np.finfo(np.float64).tiny)) ** 0.5)
    return max(errors)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that ONNX Runtime's quantization logs for every file."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
