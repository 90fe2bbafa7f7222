"""Panoptic segmentation: COCO's panoptic layout, read and written; pictures whose pixels belong to segments.

Importing this package is cheap; the data module and what it needs load on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionattn.data.panoptic.module import PanopticData

__all__ = ["PanopticData"]


def __getattr__(name: str) -> Any:
    if name == "PanopticData":
        from visionattn.data.panoptic.module import PanopticData

        return PanopticData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
