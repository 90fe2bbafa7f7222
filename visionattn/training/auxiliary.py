"""Auxiliary losses of modules: a term that a module of the backbone or the head adds to the training loss.

A router of a mixture of heads balances its load this way, and a classifier in the middle of a network trains the layers
below it. The task adds the terms to the loss of its step. They take part in gradient accumulation, in mixed precision
and in the reduction between processes like the loss itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class HasAuxiliaryLoss(Protocol):
    """A module with a loss of its own.

    The module keeps the weighted loss of its latest forward pass in training mode, with its graph, and gives it away
    once. A pass overwrites the loss of the pass before: gradient checkpointing repeats passes. Of modules that declare
    ``averaged_loss`` the mean counts, not the sum, so that its weight does not depend on how many layers there are.
    """

    def auxiliary_loss(self) -> Tensor | None:
        """Return the weighted loss, a scalar, and forget it; None if there is none."""
        ...


class AuxiliaryLosses:
    """The auxiliary losses of some modules.

    Args:
        modules: searched at any depth for modules with a method ``auxiliary_loss``.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.sources = [
            child for module in modules for child in module.modules() if isinstance(child, HasAuxiliaryLoss)
        ]

    def take(self) -> Tensor | None:
        """Return the losses of the latest forward pass as one, and clear them; None if no module has one."""
        summed: list[Tensor] = []
        averaged: list[Tensor] = []
        for source in self.sources:
            loss = source.auxiliary_loss()
            if loss is not None:
                (averaged if getattr(source, "averaged_loss", False) else summed).append(loss)
        if averaged:
            summed.append(torch.stack(averaged).mean())
        return sum(summed[1:], summed[0]) if summed else None
