"""scikit-learn's scanned digits as files in folders of classes: real images to try a command on, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from visionattn.data.claim import claim, record
from visionattn.data.classification.sources.digits import Digits

_MARKER = "digits.json"


def write_digits(dir: str | Path, image_size: int = 32) -> dict[str, Any]:
    """Write the digits as ``train|val/<digit>/<number>.png``, with the split of :class:`Digits`.

    Args:
        dir: folder to write into.
        image_size: edge of the images.

    Returns:
        The number of images of each split, and the class names.

    Raises:
        DataError: the folder holds anything else than the same images.
    """
    root, source = Path(dir).expanduser(), Digits(image_size)
    settings = {"made_by": "visionattn digits", "image_size": image_size}
    claim(root, _MARKER, settings)
    counts, names = dict[str, int](), list[str]()
    for split in ("train", "val"):
        records = source.open(split)
        names, counts[split] = records.class_names, len(records.ids)
        for name in names:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        for sample, label, image in zip(records.ids, records.labels, records.images, strict=True):
            number = sample.rpartition("/")[2]
            Image.fromarray(image).save(root / split / names[label] / f"{number}.png")
    summary = {**settings, "complete": True, "splits": counts, "classes": names}
    record(root, _MARKER, summary)
    return {**summary, "dir": str(root)}
