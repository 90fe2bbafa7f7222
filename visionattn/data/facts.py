"""What data tell about themselves: the number of classes, their names, the size of the images, the layout of a folder.

A source class that can tell has ``inspect(root, options)``; :data:`AUTO` in a configuration marks a value that is asked
for. Labels and a few image headers are read, never all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any, Protocol, runtime_checkable

AUTO = "auto"
"""The value of a key that the data answer."""
SAMPLED_HEADERS = 64
"""Image headers that are read at most to learn a typical size."""


@dataclass(frozen=True)
class DataFacts:
    """What a source learned about its data without reading its images.

    Attributes:
        num_classes: classes that a model trained on these data tells apart; None: not known.
        class_names: their names, in the order of their indices; None: the data name none.
        named: whether the names say what the classes are, and do not only count them.
        image_size: a typical (height, width) in pixels, from a few image headers; None: not known.
        images: split -> number of images.
        options: options of the source that were ``auto`` or unset, filled in (for instance where a COCO file lies).
        notes: sentences for the user, for instance "layout: Roboflow's COCO export".
        in_chans: channels of the images; None: three, or not known.
        value_range: stored values that become 0 and 255, of images with more than 8 bits; None: there are none.
    """

    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    in_chans: int | None = None
    value_range: tuple[float, float] | None = None
    named: bool = True


@runtime_checkable
class Inspectable(Protocol):
    """A source class that can tell facts about its data before anything is built."""

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """The facts.

        Args:
            root: of the data set.
            options: the plain values of the source's node in the configuration; :data:`AUTO` asks for a value.

        Raises:
            DataError: the data cannot be found, or no layout is recognized; names the folder and what is missing.
        """


def typical_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """The median height and the median width of (height, width) pairs; None: there are none."""
    found = list(sizes)
    if not found:
        return None
    return round(median(height for height, _ in found)), round(median(width for _, width in found))


def header_size(path: Path | IO[bytes]) -> tuple[int, int] | None:
    """The (height, width) that an image file's header names; None: it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def sampled_size(files: Iterable[Path], most: int = SAMPLED_HEADERS) -> tuple[int, int] | None:
    """A typical (height, width) of image files, from headers of at most ``most`` of them, evenly spaced."""
    listed = list(files)
    step = max(1, len(listed) // most)
    sizes = (header_size(path) for path in listed[::step][:most])
    return typical_size(size for size in sizes if size is not None)
