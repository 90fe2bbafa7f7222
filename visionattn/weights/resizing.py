"""Tensors of another size than the model's, where that can be mended: position tables, and the first convolution."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.weights.read import StateDict

_RGB = 3


def resize_position_tables(model: nn.Module, state: StateDict) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every module names its tables in ``position_tables``; its ``stretched(table, own)``, if any, makes them fit.

    ``resizable_parameters`` are stretched likewise, but decay with the weights.
    """
    resized = {}
    for prefix, module in model.named_modules():
        for table in (*getattr(module, "position_tables", ()), *getattr(module, "resizable_parameters", ())):
            name, own = f"{prefix}.{table}".lstrip("."), getattr(module, table)
            if own is not None and name in state and state[name].ndim == own.ndim and state[name].shape != own.shape:
                old = tuple(state[name].shape)
                stretched, sides = getattr(module, "stretched", None), tuple(own.shape[-2:])
                state[name] = stretched(state[name], own) if stretched else resize_table(state[name], sides)
                resized[name] = (old, tuple(state[name].shape))
    return resized


def fold_channels(model: nn.Module, state: StateDict) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The stem's convolution over an image of RGB, for images of another number of channels, as timm does it.

    For one channel the weights are summed, for more they are repeated and scaled by 3 over their number.
    """
    from timm.models import adapt_input_conv

    channels, folded = getattr(model, "in_chans", 3), {}
    for name, own in model.state_dict().items() if channels != _RGB else ():
        given = state.get(name)
        if given is None or given.ndim != 4 or not name.startswith("stem."):
            continue
        if given.shape[1] == _RGB and given.shape[0] == own.shape[0] and own.shape[1] == channels:
            state[name] = adapt_input_conv(channels, given)
            folded[name] = (tuple(given.shape), tuple(state[name].shape))
    return folded


def resize_table(table: Tensor, sides: tuple[int, int]) -> Tensor:
    """A table ``(N, 2*wh-1, 2*ww-1)`` of N heads, stretched to other ``sides``; one that has them stays as it is.

    Bicubic interpolation without anti-aliasing, as the published Swin and DiNAT weights moved to larger windows.
    """
    if tuple(table.shape[-2:]) == tuple(sides):
        return table
    stretched = F.interpolate(table[None].float(), size=sides, mode="bicubic", align_corners=False)
    return stretched[0].to(table.dtype)
