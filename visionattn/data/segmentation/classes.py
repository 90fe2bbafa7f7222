"""Names, numbers and colors of a data set's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np

from visionattn.drawing.palette import palette_of
from visionattn.errors import DataError


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, in the order of their labels 0..K-1.

    Attributes:
        names: of the classes.
        numbers: stored number of each class in the mask files.
        palette: colors, uint8 ``(K, 3)``.
        shares: share of the labeled pixels of each class in the published data, float ``(K,)``; None: not known.
        images: split -> number of published images in which each class occurs, int ``(K,)``.
        published: whether the list is that of a published data set.
    """

    names: list[str]
    numbers: list[int]
    palette: np.ndarray
    shares: np.ndarray | None = None
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    published: bool = False


def packaged(name: str) -> ClassList:
    """One of the lists in the folder ``names``."""
    text = (files("visionattn.data.segmentation") / "names" / f"{name}.txt").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    numbers, names = [int(row[0]) for row in rows], [row[1] for row in rows]
    colors = [[int(value) for value in row[2].split()] for row in rows if len(row) > 2]
    palette = np.array(colors, np.uint8) if colors else palette_of(names)
    return ClassList(names, numbers, palette, published=True)


def numbered(names: Sequence[str], first: int = 0) -> ClassList:
    """Classes of these names, stored as first, first + 1, ..."""
    return ClassList(list(names), list(range(first, first + len(names))), palette_of(names))


def read_object_info(path: Path) -> ClassList:
    """Read ADE20K's objectInfo150.txt, a table with the columns Idx, Ratio, Train, Val and Name (synonyms by comma).

    Raises:
        DataError: the file is something else.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        rows = [line.split("\t") for line in lines[1:] if line.strip()]
        numbers, shares = [int(row[0]) for row in rows], np.array([float(row[1]) for row in rows])
        images = {split: np.array([int(row[c]) for row in rows]) for split, c in (("train", 2), ("val", 3))}
        names = [row[4].split(",")[0].strip() for row in rows]
    except (IndexError, ValueError) as error:
        raise DataError(f"{path} is not ADE20K's table of classes (Idx, Ratio, Train, Val, Name): {error}") from None
    if numbers != list(range(1, len(numbers) + 1)):
        raise DataError(f"{path} numbers its classes {numbers[:5]}..., expected 1, 2, 3, ...")
    return ClassList(names, numbers, palette_of(names), shares, images, published=True)
