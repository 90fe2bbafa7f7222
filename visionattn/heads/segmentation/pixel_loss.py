"""Cross entropy of logits that are coarser than the labels, without ever holding them at the labels' size.

Shapes: B batch, K classes, H W labels, h w logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.eager import autocast_disabled

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_CHUNK = {"cpu": 2**18}  # numbers at a time that fit a CPU's cache
_LARGE_CHUNK = 2**26


def resized_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore: int) -> Tensor:
    """The sum over all pixels of the cross entropy of bilinearly resized logits (pixel centers aligned).

    It is what ``F.cross_entropy(F.interpolate(logits, target's size, mode="bilinear"), target, weight,
    ignore_index=ignore, reduction="sum")`` gives, in float32 at least. The map is processed in pieces: each is resized
    by two small matrices, compared, and reduced to a gradient while it is in the cache. What is kept for the backward
    pass has the size of the logits. On a GPU the gradient is deterministic; that of torch's own resizing is not. There
    is no second derivative.

    Args:
        logits: of any floating type.
        target: int64 classes, or ``ignore``.
        weight: factor on the pixels of each class, (K,); None: 1.
        ignore: the label of pixels that are not counted.

    Raises:
        ValueError: the batches differ.

    Shape:
        logits ``(B, K, h, w)``, target ``(B, H, W)`` -> scalar
    """
    if len(logits) != len(target):
        raise ValueError(f"logits of {len(logits)} images do not match labels of {len(target)}")
    return _ResizedCrossEntropy.apply(logits, target, weight, ignore)


class PixelLoss(nn.Module):
    """Cross entropy of all pixels, the logits brought to the size of the target.

    The mean is over all pixels, ignored ones included, as in mmsegmentation's recipes: every image weighs the same
    however much of it is labeled, and a batch without labels gives 0, not NaN.

    Args:
        class_weights: factor on the pixels of each class, (K,); None: 1.
        ignore: label of the pixels that do not count.

    Shape:
        logits ``(B, K, h, w)``, target int64 ``(B, H, W)`` -> scalar
    """

    weight: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, ignore: int = 255):
        super().__init__()
        self.ignore = ignore
        weight = None if class_weights is None else torch.tensor([float(one) for one in class_weights])
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Float[Tensor, "B K h w"], target: Int[Tensor, "B H W"]) -> Float[Tensor, ""]:
        return resized_cross_entropy(logits, target, self.weight, ignore=self.ignore) / max(target.numel(), 1)


class _ResizedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weight: Tensor | None, ignore: int) -> Tensor:
        kind = torch.promote_types(logits.dtype, torch.float32)
        with autocast_disabled(logits.device):
            total, gradient = _work(logits.to(kind), target, weight, ignore, ctx.needs_input_grad[0])
        ctx.kind = logits.dtype
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (ctx.saved_tensors[0] * grad).to(ctx.kind), None, None, None


def _work(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore: int, needed: bool
) -> tuple[Tensor, Tensor | None]:
    """The sum, and its gradient where it is needed."""
    classes, (height, width) = logits.shape[1], target.shape[1:]
    down, across = _matrix(logits.shape[2], height, logits), _matrix(logits.shape[3], width, logits)
    limit = _CHUNK.get(logits.device.type, _LARGE_CHUNK)
    images = max(1, limit // (classes * height * width))
    bands = _bands(logits.shape[2], height, max(1, limit // (classes * width)) if images == 1 else height)
    total, gradient = logits.new_zeros(()), torch.zeros_like(logits) if needed else None
    for first in range(0, len(logits), images):
        some = slice(first, first + images)
        wide = logits[some].contiguous() @ across.T
        back = torch.zeros_like(wide)
        for band, seen in bands:
            rows, into = down[band, seen], back[:, :, seen] if needed else None
            total += _compare(rows, wide[:, :, seen], target[some, band], weight, ignore, into)
        if gradient is not None:
            gradient[some] = back @ across
    return total, gradient


def _bands(small: int, large: int, rows: int) -> list[tuple[slice, slice]]:
    """Bands of so many rows, and for each the rows of the logits that it is made of (and one more, for rounding)."""
    bands = [slice(top, min(top + rows, large)) for top in range(0, large, rows)]
    positions = [[(row + 0.5) * small / large - 0.5 for row in (band.start, band.stop - 1)] for band in bands]
    seen = [slice(max(int(first) - 1, 0), min(int(last) + 2, small)) for first, last in positions]
    return list(zip(bands, seen, strict=True))


def _compare(
    rows: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None, ignore: int, back: Tensor | None
) -> Tensor:
    """The sum over the band of rows that is ``rows @ logits``; adds the gradient of the logits to ``back``."""
    counted = (target != ignore)[:, None]
    classes = target[:, None].where(counted, 0)
    factor = counted.to(logits.dtype) if weight is None else weight.to(logits.dtype)[classes] * counted
    shares = (rows @ logits).log_softmax(1)
    total = -(shares.gather(1, classes) * factor).sum()
    if back is not None:
        shares = shares.exp_().scatter_add_(1, classes, -torch.ones_like(factor)).mul_(factor)
        back += rows.T @ shares
    return total


def _matrix(small: int, large: int, like: Tensor) -> Tensor:
    """What bilinear resizing does along one axis, (large, small)."""
    unit = torch.eye(small, dtype=like.dtype, device=like.device)
    return F.interpolate(unit[None], size=large, mode="linear")[0].T.contiguous()
