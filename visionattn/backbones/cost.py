"""Size and cost of a model: parameters and multiply-adds, counted, not estimated.

Shapes: C channels, H W image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
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

    Counted by torch's own counter on the operators that really run (matrix products, convolutions, attention), and
    what modules declare as ``elementwise_macs``: products of tokens with single neighbors, scans. Norms, activations,
    gates, the denominators of linear attention and additions are not counted. It runs on shapes alone (torch's meta
    device), in about a second for the largest model.

    Returns:
        Name of a module, as in ``named_modules``, to its count; the model itself has the empty name.
    """
    shapes = {name: tensor.detach().to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    image = torch.zeros(1, *input_size, device="meta", dtype=next(model.parameters()).dtype)
    training = model.training
    model.eval()
    with torch.no_grad(), _declared(model) as declared, FlopCounterMode(display=False) as counter:
        functional_call(model, shapes, (image,))
    model.train(training)
    root = f"{type(model).__name__}."
    counts = {
        name.removeprefix(root): sum(flops.values()) // 2 + declared[name.removeprefix(root)]
        for name, flops in counter.get_flop_counts().items()
        if name.startswith(root)
    }
    return {**counts, "": counter.get_total_flops() // 2 + declared[""]}


@contextmanager
def _declared(model: nn.Module) -> Iterator[Counter[str]]:
    """The ``elementwise_macs`` of the modules that run meanwhile, for each of them and all around it, by name."""
    found: Counter[str] = Counter()

    def add(around: list[str], module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count: Any = module.elementwise_macs
        found.update(dict.fromkeys(around, count(inputs[0].shape)))

    handles = []
    for name, module in model.named_modules():
        if hasattr(module, "elementwise_macs"):
            around = ["", *accumulate(name.split("."), "{}.{}".format)] if name else [""]
            handles.append(module.register_forward_hook(partial(add, around)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
