"""Making of a probe: images in ImageNet's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from visionattn.data.claim import claim, record
from visionattn.data.probes import mazes, scrambled
from visionattn.errors import ConfigError

Drawing = Iterator[tuple[int, Image.Image]]


@dataclass(frozen=True)
class Probe:
    """A probe.

    Attributes:
        draw: called as ``draw(count, image_size, split, seed)``; labels and images.
        classes: their names; a split has at least an image of each.
        image_size: side of an image in pixels, unless another one is asked for.
    """

    draw: Callable[[int, int, str, int], Drawing]
    classes: tuple[str, ...]
    image_size: int


PROBES = {
    "mazes": Probe(mazes.draw_mazes, mazes.CLASSES, 48),
    "scrambled": Probe(scrambled.draw_scrambled, scrambled.CLASSES, 64),
}
_VERSION = 1


def make_probe(
    name: str,
    dir: str | Path,
    num_train: int = 1000,
    num_val: int = 200,
    image_size: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Draw images and write them as ``train|val/<class>/<class>_000001.png``.

    The same arguments give the same images.

    Args:
        name: ``mazes`` (:mod:`visionattn.data.probes.mazes`) or ``scrambled``
            (:mod:`visionattn.data.probes.scrambled`).
        dir: folder to write into.
        num_train: images of the first split.
        num_val: images of the second split.
        image_size: side in pixels; None: that of :data:`PROBES`.
        seed: of everything that is drawn.

    Returns:
        The settings, the number of images per split, and the class names.

    Raises:
        ConfigError: an unknown probe or impossible numbers.
        DataError: ``dir`` holds anything else than the same set.
    """
    probe = _checked(name, num_train, num_val)
    size = image_size or probe.image_size
    drawings = {split: probe.draw(n, size, split, seed) for split, n in (("train", num_train), ("val", num_val))}
    root, marker = Path(dir).expanduser(), f"{name}.json"
    settings = {"made_by": f"visionattn {name}", "version": _VERSION, "num_train": num_train, "num_val": num_val}
    settings |= {"image_size": size, "seed": seed}
    claim(root, marker, settings)
    counts = {split: _write(root / split, drawing, probe.classes) for split, drawing in drawings.items()}
    summary = {**settings, "complete": True, "splits": counts, "classes": list(probe.classes)}
    record(root, marker, summary)
    return {**summary, "dir": str(root)}


def _checked(name: str, num_train: int, num_val: int) -> Probe:
    if name not in PROBES:
        raise ConfigError(f"unknown probe {name!r}; known are {', '.join(PROBES)}")
    probe = PROBES[name]
    if min(num_train, num_val) < len(probe.classes):
        raise ConfigError(
            f"{name} have {len(probe.classes)} classes, and each split needs an image of each; "
            f"got num_train={num_train} and num_val={num_val}"
        )
    return probe


def _write(folder: Path, drawing: Drawing, classes: tuple[str, ...]) -> dict[str, int]:
    index = -1
    for index, (label, image) in enumerate(drawing):
        path = folder / classes[label] / f"{classes[label]}_{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return {"images": index + 1}
