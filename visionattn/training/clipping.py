"""Adaptive gradient clipping, of whole tensors and of those that are divided among processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_adaptively(parameters: Iterable[Tensor], share: float, least: float = 1e-3) -> None:
    """Shorten, in place, the gradient of each row of a weight to a share of the row's own norm.

    Brock et al. 2021, *High-Performance Large-Scale Image Recognition Without Normalization*, arXiv 2102.06171. A row
    is what makes one output; a vector is one row. The same as timm's ``adaptive_clip_grad``, which fails on tensors of
    FSDP.

    Args:
        parameters: with a gradient.
        share: most that the gradient's norm may be of the row's.
        least: norm that a row counts for at least.
    """
    for parameter in parameters:
        assert parameter.grad is not None
        most = _norm_of_rows(parameter.detach()).clamp(min=least) * share
        found = _norm_of_rows(parameter.grad)
        parameter.grad.mul_((most / found.clamp(min=1e-6)).clamp(max=1))


def _norm_of_rows(x: Tensor) -> Tensor:
    if x.ndim > 1:
        return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)
    norm: Tensor = torch.linalg.vector_norm(x)
    if hasattr(norm, "redistribute"):  # the processes hold a part each
        from torch.distributed.tensor import DTensor, Replicate

        assert isinstance(norm, DTensor)
        return norm.redistribute(placements=[Replicate()] * norm.device_mesh.ndim)
    return norm
