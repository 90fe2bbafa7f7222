"""Snapshot of buffers, so that a skipped step leaves no trace in running statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class BufferSnapshot:
    """Copies of the buffers of some modules, such as the running statistics of batch norms.

    An image that is not finite would stay in running statistics for good.

    Args:
        modules: their buffers are looked up at every :meth:`take`, since a module may move to another device.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.modules = list(modules)
        self._copies: list[Tensor] = []

    def _buffers(self) -> list[Tensor]:
        """All buffers, constant tables included: these are small and cannot be told from the others."""
        return [buffer for module in self.modules for buffer in module.buffers()]

    @torch.no_grad()
    def take(self) -> None:
        """Copy the buffers, before the first forward pass of a step."""
        now = self._buffers()
        if not _same_layout(self._copies, now):
            self._copies = [buffer.clone() for buffer in now]
        elif now:
            torch._foreach_copy_(self._copies, now)

    @torch.no_grad()
    def restore(self) -> None:
        """Undo what was written since :meth:`take`."""
        now = self._buffers()
        if now:
            torch._foreach_copy_(now, self._copies)


def _same_layout(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.device == b.device and a.dtype == b.dtype for a, b in zip(one, other, strict=True)
    )
