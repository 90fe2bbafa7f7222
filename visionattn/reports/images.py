"""Images with what lies on them: boxes, masks and segments in layers that a reader switches.

Shapes: H W image, n items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from visionattn.reports.embedding import Embedding, Pixels, as_rgb, shrink

THUMBNAIL = 320
"""Longer edge of an image that is kept for a report."""
_NAMED = 12  # boxes of a layer that have their names beside them; the pointer tells those of the others


def thumbnail(image: Pixels, edge: int = THUMBNAIL) -> Image.Image:
    """A copy of an image with a longer edge of at most ``edge`` pixels, to be kept for a report."""
    return shrink(as_rgb(image), edge).copy()


@dataclass(frozen=True)
class Layer:
    """What lies over an image: n items, each with a color, a box or a region or both, and a name.

    Attributes:
        name: what a reader switches, for instance ``target``.
        colors: uint8 ``(n, 3)``.
        names: of the n items; with boxes they stand at the boxes, and in the legend in any case.
        boxes: ``(n, 4)`` as x1 y1 x2 y2 in pixels of ``size``; None: there are none.
        size: width and height that the boxes are meant for; None: those of the image given.
        regions: int ``(H, W)`` of any size, 0 for nothing, else the index of an item plus 1; None: there are none.
        shown: whether it is switched on at first.
    """

    name: str
    colors: np.ndarray
    names: Sequence[str] = ()
    boxes: np.ndarray | None = None
    size: tuple[int, int] | None = None
    regions: np.ndarray | None = None
    shown: bool = True


@dataclass(frozen=True)
class Sample:
    """An image with its layers.

    Attributes:
        image: of any size; it is embedded as a thumbnail.
        caption: the line below it, in strong letters.
        details: smaller lines below that.
        layers: the first is the lowest.
        mark: ``good``, ``bad`` or empty: the color of the edge.
    """

    image: Pixels
    caption: str = ""
    details: Sequence[str] = ()
    layers: Sequence[Layer] = ()
    mark: str = ""


@dataclass(frozen=True)
class Samples:
    """Images side by side, each larger on a click; layers of one name are switched together.

    Attributes:
        legend: names and colors of what the layers show; None: that of the items of regions.
    """

    title: str
    samples: Sequence[Sample]
    note: str = ""
    legend: Sequence[tuple[str, Sequence[int]]] | None = None
    kind: ClassVar[str] = "samples"

    def view(self, images: Embedding) -> dict[str, Any]:
        shown = self.samples[: images.room_for(len(self.samples))]
        switches = {layer.name: layer.shown for sample in self.samples for layer in sample.layers}
        names = list(switches)
        views = [_sample(sample, names, images) for sample in shown]
        legend = self.legend if self.legend is not None else _legend(shown)
        return {
            "samples": views,
            "switches": list(switches.items()),
            "legend": [(name, _css(color)) for name, color in legend],
        }


@dataclass(frozen=True)
class Picture:
    """A picture that exists: a plot, a drawing.

    Attributes:
        caption: below it.
    """

    title: str
    image: Pixels
    caption: str = ""
    note: str = ""
    kind: ClassVar[str] = "picture"

    def view(self, images: Embedding) -> dict[str, Any]:
        return {"image": images.drawing(self.image) if images.room_for(1) else None}


@dataclass
class _Box:
    """A box of the page."""

    x: float
    y: float
    width: float
    height: float
    color: str
    name: str
    tag: str


def _sample(sample: Sample, names: Sequence[str], images: Embedding) -> dict[str, Any]:
    size = sample.image.size if isinstance(sample.image, Image.Image) else sample.image.shape[1::-1]
    layers = []
    for layer in sample.layers:
        width, height = layer.size or size
        layers.append(
            {
                "index": names.index(layer.name),
                "size": (width, height),
                "boxes": _boxes(layer, (width, height), below=names.index(layer.name) % 2 == 0),
                "regions": None if layer.regions is None else images.regions(layer.regions, _colors(layer)),
                "name": layer.name,
                "names": {_css(color): name for name, color in _occurring(layer)},
            }
        )
    return {
        "image": images.photograph(sample.image),
        "size": size,
        "caption": sample.caption,
        "details": [line for line in sample.details if line],
        "layers": layers,
        "mark": sample.mark,
    }


def _colors(layer: Layer) -> np.ndarray:
    return np.asarray(layer.colors, np.uint8).reshape(-1, 3)


def _boxes(layer: Layer, size: tuple[int, int], below: bool) -> list[_Box]:
    """The boxes of a layer with their names: above, or below so that the layers' names do not cover one another."""
    if layer.boxes is None:
        return []
    boxes, colors, names = np.asarray(layer.boxes, np.float64).reshape(-1, 4), _colors(layer), list(layer.names)
    least, answer = 0.002 * max(size), []
    for index, (left, top, right, bottom) in enumerate(boxes.tolist()):
        name = names[index] if index < len(names) else ""
        edge = (size[1] - bottom) / size[1] if below else top / size[1]
        tag = _tag(left / size[0], max(edge, 0.0), colors[index], below) if name and index < _NAMED else ""
        width, height = (round(max(extent, least), 2) for extent in (right - left, bottom - top))
        answer.append(_Box(round(left, 2), round(top, 2), width, height, _css(colors[index]), name, tag))
    return answer


def _tag(left: float, edge: float, color: np.ndarray, below: bool) -> str:
    """Where the name of a box stands: outside of it where there is room, in a color that can be read."""
    ink = "#000" if float(color @ (0.299, 0.587, 0.114)) > 140 else "#fff"
    outside = "transform:translateY(100%);" if below else "transform:translateY(-100%);"
    place = f"left:{100 * min(max(left, 0.0), 0.92):.2f}%;{'bottom' if below else 'top'}:{100 * edge:.2f}%;"
    return f"{place}{outside if edge > 0.07 else ''}background:{_css(color)};color:{ink}"


def _legend(samples: Sequence[Sample]) -> list[tuple[str, Sequence[int]]]:
    """Names and colors of the regions that occur, in the order of their appearance."""
    found: dict[str, Sequence[int]] = {}
    for sample in samples:
        for layer in sample.layers:
            for name, color in _occurring(layer):
                found.setdefault(name, color)
    return list(found.items())


def _occurring(layer: Layer) -> list[tuple[str, Sequence[int]]]:
    """Names and colors of the regions that occur; of objects with boxes none, since these have their names."""
    if layer.regions is None or layer.boxes is not None:
        return []
    colors, indices = _colors(layer).tolist(), np.unique(layer.regions).tolist()
    return [(layer.names[index - 1], colors[index - 1]) for index in indices if 0 < index <= len(layer.names)]


def _css(color: Sequence[int] | np.ndarray) -> str:
    red, green, blue = (int(value) for value in color)
    return f"#{red:02x}{green:02x}{blue:02x}"
