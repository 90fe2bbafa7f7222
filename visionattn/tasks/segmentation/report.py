"""A semantic segmentation in a report: worst and best images, classes, confusion.

Shapes: H W map, K classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from visionattn.data.classes import ClassInfo
from visionattn.data.segmentation.labels import IGNORE
from visionattn.drawing.segmentation import backgrounds
from visionattn.reports import Column, Layer, Matrix, Sample, Section, Table
from visionattn.tasks.segmentation.metric import figures, per_class

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

RANKED_BY = (
    "Ranked by the mean IoU of the classes that an image has or is said to have, on the pixels of the thumbnail. "
    "Mistakes are pixels of another class than the target's; pixels without a class are left out."
)
_MISTAKE = np.array([[213, 0, 60]], np.uint8)


def image_iou(predicted: np.ndarray, target: np.ndarray) -> float:
    """Mean IoU of one image, in percent, over the classes in target or prediction; NaN where no pixel has a class.

    Args:
        predicted: ``(H, W)``, 0..K-1.
        target: ``(H, W)``, 0..K-1, or :data:`IGNORE`.
    """
    known = target != IGNORE
    said, true = predicted[known].astype(np.int64), target[known].astype(np.int64)
    if not len(true):
        return math.nan
    count = int(max(said.max(), true.max())) + 1
    right, *areas = (np.bincount(labels, minlength=count) for labels in (true[said == true], said, true))
    union = sum(areas) - right
    return 100 * float((right[union > 0] / union[union > 0]).mean())


def map_sample(
    image: Image.Image, predicted: np.ndarray, target: np.ndarray, iou: float, name: str, info: ClassInfo
) -> Sample:
    """An image with the classes that it has, those that it is said to have, and where they differ."""
    colors, clear = np.array(info.palette, np.uint8), backgrounds(info.names)
    layers = []
    for layer, classes in (("target", target), ("prediction", predicted)):
        painted = (classes < len(colors)) & ~np.isin(classes, clear)
        regions = np.where(painted, classes.astype(np.int32) + 1, 0)
        layers.append(Layer(layer, colors, info.names, regions=regions, shown=layer == "prediction"))
    wrong = ((predicted != target) & (target != IGNORE)).astype(np.int32)
    layers.append(Layer("mistakes", _MISTAKE, ["mistake"], regions=wrong, shown=False))
    return Sample(image, name, [f"mIoU {iou:.1f} %"], layers)


def class_sections(matrix: Tensor, boundary: Tensor | None, info: ClassInfo, data: VisionData) -> list[Section]:
    """The classes as a table and as a matrix.

    Args:
        matrix: int64 ``(K, K)``, pixels of target classes by predicted ones.
        boundary: intersections and unions of the boundaries; None: they are not scored.
        info: of the classes.
        data: that were scored.
    """
    values, counts = figures(matrix), matrix.cpu().numpy()
    columns = {"IoU": values["IoU"].tolist(), "accuracy": values["Acc"].tolist()}
    if boundary is not None:
        columns["boundary IoU"] = per_class(boundary).tolist()
    pixels = counts.sum(1)
    shares = (100 * pixels / max(int(pixels.sum()), 1)).tolist()
    rows = [list(row) for row in zip(info.names, *columns.values(), shares, pixels.tolist(), strict=True)]
    told = "over the whole split, in percent"
    headings = [
        Column("class"),
        *(Column(name, bar=name == "IoU", top=100, help=f"{name} {told}") for name in columns),
        Column("share", help="share of the pixels with a class, in percent"),
        Column("pixels", help=f"of the class in the {data.evaluation_split} images"),
    ]
    title = "Confusion matrix"
    return [Table("Classes", headings, rows), Matrix(title, counts, info.names, info.names, note="Pixels.")]
