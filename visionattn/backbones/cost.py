"""Size and cost of a model, counted, not estimated.

Shapes: B batch, C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Number of scalars in all parameters."""
    return sum(param.numel() for param in model.parameters())


def count_gmacs(model: nn.Module, input_size: Sequence[int]) -> float:
    """Multiply-adds of one forward pass of one image ``(C, H, W)``, in units of 1e9.

    Counted by torch's own counter on the operators that really run (matrix products, convolutions, attention);
    norms, activations and additions are not multiply-adds and are not counted. It runs on shapes alone (torch's meta
    device), in about a second for the largest model.
    """
    shapes = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    image = torch.zeros(1, *input_size, device="meta", dtype=next(model.parameters()).dtype)
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(model, shapes, (image,))
    model.train(training)
    return counter.get_total_flops() / 2 / 1e9
