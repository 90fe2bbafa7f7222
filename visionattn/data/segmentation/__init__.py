"""Semantic segmentation: pictures with a class for every pixel.

Importing this package is cheap; the data module and what it needs load on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionattn.data.segmentation.module import SegmentationData

__all__ = ["SegmentationData"]


def __getattr__(name: str) -> Any:
    if name == "SegmentationData":
        from visionattn.data.segmentation.module import SegmentationData

        return SegmentationData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
