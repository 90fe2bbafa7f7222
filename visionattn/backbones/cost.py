"""Size and cost of a model: parameters and multiply-adds, counted, not estimated.

Shapes: C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Number of scalars in all parameters."""
    return sum(param.numel() for param in model.parameters())


def count_gmacs(model: nn.Module, input_size: Sequence[int]) -> float:
    """Multiply-adds of one forward pass of one image ``(C, H, W)``, in units of 1e9; see :func:`count_macs`."""
    return count_macs(model, input_size)[""] / 1e9


def count_macs(model: nn.Module, input_size: Sequence[int]) -> Mapping[str, int]:
    """Multiply-adds of one forward pass of one image ``(C, H, W)``, of the model and of each module that ran.

    Counted by torch's own counter on the operators that really run (matrix products, convolutions, attention);
    norms, activations and additions are not multiply-adds and are not counted. It runs on shapes alone (torch's meta
    device), in about a second for the largest model.

    Returns:
        Name of a module, as in ``named_modules``, to its count; the model itself has the empty name.
    """
    shapes = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    image = torch.zeros(1, *input_size, device="meta", dtype=next(model.parameters()).dtype)
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(model, shapes, (image,))
    model.train(training)
    root = f"{type(model).__name__}."
    counts = {
        name.removeprefix(root): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
        if name.startswith(root)
    }
    return {**counts, "": counter.get_total_flops() // 2}
