"""The result of one batch in a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Batch = dict[str, Any]


@dataclass
class StepOutput:
    """The result of a step.

    Attributes:
        loss: the loss to minimize; None in validation where the task has none there.
        prediction: what the evaluators get in validation.
        parts: named terms of the loss, logged as ``train/loss_<name>``.
    """

    loss: Tensor | None
    prediction: Any = None
    parts: dict[str, Tensor] = field(default_factory=dict)
