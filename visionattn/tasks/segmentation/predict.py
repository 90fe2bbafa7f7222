"""Predictions of a semantic segmentation on a user's own images: class maps, drawn over them and as files.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from PIL import Image

from visionattn.drawing.segmentation import draw_classes, palette_image
from visionattn.tasks.predict import DRAWN_EDGE, Predicted

MAPS = "classes"
"""Kind of the maps, and the folder that they lie in."""


def predicted_classes(image: Image.Image, classes: np.ndarray, names: list[str], palette: np.ndarray) -> Predicted:
    """The prediction for one image: its classes drawn over it with a legend, their shares, and the class map.

    Args:
        image: RGB.
        classes: ``(H, W)``, 0..K-1.
        names: names of the classes.
        palette: uint8 ``(K, 3)``.
    """
    counts = np.bincount(classes.reshape(-1), minlength=len(names))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    shares = [{"class": names[k], "label": k, "share": float(counts[k] / classes.size)} for k in order]
    rows = [
        {"class": names[k], "label": k, "pixels": int(counts[k]), "share": f"{counts[k] / classes.size:.6f}"}
        for k in order
    ]
    draw = partial(draw_classes, image, classes, palette, names, least_edge=DRAWN_EDGE)
    maps = {MAPS: palette_image(classes, palette)}
    return Predicted(draw, {"classes": shares}, rows, Counter({names[k]: int(counts[k]) for k in order}), maps)
