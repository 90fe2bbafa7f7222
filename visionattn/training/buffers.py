"""What a forward pass changes besides the weights, kept so that a step that is left out leaves no trace."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class KeptBuffers:
    """Copies of some modules' buffers: the running statistics of their batch norms, and whatever else is written to in
    training. A picture that is not finite would stay in them for good.

    Args:
        modules: whose buffers; looked up at every :meth:`keep`, since a module may move to another device.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.modules = list(modules)
        self._kept: list[Tensor] = []

    def _buffers(self) -> list[Tensor]:
        """Constant tables take part: they are small, and nobody says which ones they are."""
        return [buffer for module in self.modules for buffer in module.buffers()]

    @torch.no_grad()
    def keep(self) -> None:
        """Takes the copies, before the first forward pass of a step."""
        now = self._buffers()
        if not _alike(self._kept, now):
            self._kept = [buffer.clone() for buffer in now]
        elif now:
            torch._foreach_copy_(self._kept, now)

    @torch.no_grad()
    def put_back(self) -> None:
        """Undoes what was written since :meth:`keep`."""
        now = self._buffers()
        if now:
            torch._foreach_copy_(now, self._kept)


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.device == b.device and a.dtype == b.dtype for a, b in zip(one, other, strict=True)
    )
