"""Data: sources of labelled pictures, exact sampling, transforms, and a drawn data set in the field's real layouts.

Importing this package is cheap; the data module and what it needs (Lightning, timm, torchvision) load on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionattn.data.classification import ClassificationData
    from visionattn.data.unreadable import UnreadableBudget

__all__ = ["ClassificationData", "UnreadableBudget"]

_HOMES = {
    "ClassificationData": "visionattn.data.classification",
    "UnreadableBudget": "visionattn.data.unreadable",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
