"""Predictions of a classifier on a user's own images: the likeliest classes and a thumbnail.

Shapes: K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from PIL import Image
from torch import Tensor

from visionattn.tasks.predict import Predicted

_THUMBNAIL = 256
_CAPTIONED = 2


def top_classes(image: Image.Image, probabilities: Tensor, names: Sequence[str], count: int) -> Predicted:
    """The prediction for one image.

    Args:
        image: RGB, of any size.
        probabilities: float ``(K,)``.
        names: names of the classes.
        count: how many classes are listed.
    """
    scores, labels = probabilities.topk(min(count, len(probabilities)))
    top = [
        {"class": names[label], "label": label, "score": score}
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
    row: dict[str, Any] = {}
    for place, one in enumerate(top, 1):
        end = "" if place == 1 else f"_{place}"
        row |= {f"class{end}": one["class"], f"label{end}": one["label"], f"score{end}": f"{one['score']:.6f}"}
    caption = "\n".join(f"{one['class']} {100 * one['score']:.0f} %" for one in top[:_CAPTIONED])
    return Predicted(partial(_thumbnail, image), {"top": top}, [row], Counter([top[0]["class"]]), caption=caption)


def _thumbnail(image: Image.Image) -> Image.Image:
    thumbnail = image.copy()
    thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return thumbnail
