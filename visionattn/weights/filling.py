"""Tensors into a model, in one place for every kind of weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def fill(model: nn.Module, state: Mapping[str, Tensor], strict: bool = True) -> None:
    """Load a state dict whose names and shapes fit; of it, a model of shapes alone (torch's ``meta``) takes those."""
    if all(tensor.is_meta for tensor in model.state_dict().values()):
        state = {name: tensor.to("meta") for name, tensor in state.items()}
    model.load_state_dict(state, strict=strict)
