"""What a backbone may keep of itself for one task."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class ServesTasks(Protocol):
    """A backbone that pools in its own way for classification, and then leaves out what maps alone need."""

    def serve(self, pooled: bool) -> None:
        """Keep what gives the vector for a classifier (pooled), else what gives maps; ``feature_info`` follows."""
        ...


def prepare(backbone: Any, pooled: bool) -> None:
    """Let a backbone keep what a task needs, before its head is built; its own classifier stays for that.

    Args:
        backbone: any.
        pooled: whether the task classifies images.
    """
    if isinstance(backbone, ServesTasks):
        backbone.serve(pooled)


class NoClassifier(nn.Identity):
    """Stands where the classifier was: ``backbone(images)`` is the last map then, ``(B, C, H, W)``."""

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x


@runtime_checkable
class LeavesOut(Protocol):
    """A backbone whose finest maps are made by parameters of their own."""

    def leave_out(self, maps: int) -> None:
        """Freeze what so many of the finest maps alone are made with."""
        ...


def without_unused(backbone: Any, head: Any) -> None:
    """Take from training what would never get a gradient, which stops a training of several processes.

    Args:
        backbone: what it keeps without classes (DaViT's norm) is dropped.
        head: built on it; leaves out the finest ``unused_maps``, and a part of it may say ``replaces_norm``.
    """
    if any(getattr(part, "replaces_norm", False) for part in head.modules()) and hasattr(backbone, "norm"):
        backbone.norm = nn.Identity()
    if isinstance(getattr(backbone, "head", None), nn.Module):
        backbone.head = NoClassifier()
    if isinstance(backbone, LeavesOut):
        backbone.leave_out(getattr(head, "unused_maps", 0))
