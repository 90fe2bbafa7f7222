"""A panoptic segmentation in a report: worst and best images, quality of the classes.

Shapes: H W map, n segments, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from visionattn.data.classes import ClassInfo
from visionattn.drawing.panoptic import segment_colors
from visionattn.reports import Column, Layer, Sample, Section, Table
from visionattn.tasks.panoptic.metric import per_class

RANKED_BY = (
    "Ranked by the panoptic quality of the single image, the mean over the classes that it has or is said to have. "
    "Segments of one class have different shades."
)


def segments_layer(name: str, ids: np.ndarray, labels: Sequence[int], info: ClassInfo, shown: bool) -> Layer:
    """A panoptic map ``(H, W)`` of 1..n as a layer."""
    return Layer(name, segment_colors(labels)[1:], [info.names[label] for label in labels], regions=ids, shown=shown)


def segments_sample(image: Image.Image, name: str, quality: float, layers: Sequence[Layer]) -> Sample:
    """An image with the segments that it has and those that it is said to have."""
    counts = [f"{len(layer.names)} in the {layer.name}" for layer in layers]
    return Sample(image, name, [f"PQ {quality:.1f} %", f"segments: {', '.join(counts)}"], layers)


def class_sections(counts: Tensor, info: ClassInfo) -> list[Section]:
    """The classes as a table.

    Args:
        counts: int64 ``(4, K)``, see :class:`visionattn.tasks.panoptic.metric.PanopticQuality`.
        info: of the classes.
    """
    things = info.things or [True] * len(info.names)
    quality, numbers = per_class(counts).T.tolist(), counts[1:].T.tolist()
    rows = [
        [name, "thing" if thing else "stuff", *values, *found]
        for name, thing, values, found in zip(info.names, things, quality, numbers, strict=True)
    ]
    columns = [
        Column("class"),
        Column("kind"),
        Column("PQ", bar=True, top=100, help="panoptic quality, in percent"),
        Column("SQ", help="segmentation quality: mean IoU of the matched segments, in percent"),
        Column("RQ", help="recognition quality: F1 score of the segments, in percent"),
        Column("TP", help="segments that are matched"),
        Column("FP", help="predicted segments without a match"),
        Column("FN", help="target segments without a match"),
    ]
    return [Table("Classes", columns, rows)]
