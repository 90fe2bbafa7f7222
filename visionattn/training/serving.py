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


def without_classifier(backbone: Any) -> None:
    """Drop what a backbone keeps without classes (DaViT's norm); it would never get a gradient."""
    if isinstance(getattr(backbone, "head", None), nn.Module):
        backbone.head = NoClassifier()
