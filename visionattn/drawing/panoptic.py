"""Pictures of panoptic maps: segments in colour with their borders and names.

Shapes: H W picture, n segments, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from visionattn.drawing.detection import class_colour

_SHADES = (1.0, 0.72, 0.88, 0.6)
_LEAST_SHARE = 0.004  # of the picture, that a segment must have to be named


def segment_colours(labels: Sequence[int]) -> np.ndarray:
    """uint8 (n + 1, 3): black for no segment, then the class's colour, in another shade for each segment of a class."""
    seen: dict[int, int] = {}
    colours = [(0, 0, 0)]
    for label in labels:
        shade = _SHADES[seen.get(label, 0) % len(_SHADES)]
        seen[label] = seen.get(label, 0) + 1
        red, green, blue = class_colour(label)
        colours.append((round(red * shade), round(green * shade), round(blue * shade)))
    return np.array(colours, np.uint8)


def draw_segments(
    picture: Image.Image,
    ids: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    *,
    scores: Sequence[float] | None = None,
    least_edge: int = 0,
) -> Image.Image:
    """An RGB picture with its segments in colour, white borders between them, and names on the larger ones.

    Args:
        picture: of any size.
        ids: int (H, W), 1..n, 0 for no segment: the picture stays grey there.
        labels: classes of the n segments.
        names: of the K classes.
        scores: of the segments.
        least_edge: a picture whose longer edge is below that is enlarged a whole number of times first.
    """
    times = max(1, -(-least_edge // max(picture.size)))
    if times > 1:
        picture = picture.resize((times * picture.width, times * picture.height), Image.Resampling.BICUBIC)
        ids = np.kron(ids, np.ones((times, times), ids.dtype))
    pixels = np.asarray(picture, np.float32)
    mixed = 0.45 * pixels + 0.55 * segment_colours(labels)[ids]
    grey = np.repeat(pixels.mean(-1, keepdims=True), 3, -1)
    mixed = np.where((ids > 0)[..., None], mixed, 0.5 * grey)
    mixed[_borders(ids)] = 255
    drawn = Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(max(9, round(max(picture.size) / 45)))
    for place, label in enumerate(labels):
        rows, columns = np.nonzero(ids == place + 1)
        if len(rows) < _LEAST_SHARE * ids.size:
            continue
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # a pixel of the segment
        text = names[label] + ("" if scores is None else f" {100 * scores[place]:.0f}")
        at = (float(columns[nearest]), float(rows[nearest]))
        box = pen.textbbox(at, text, font=font, anchor="mm")
        pen.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), fill=(255, 255, 255))
        pen.text(at, text, fill=(0, 0, 0), font=font, anchor="mm")
    return drawn


def _borders(ids: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels whose right or lower neighbour belongs to another segment."""
    borders = np.zeros(ids.shape, bool)
    borders[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    borders[:-1] |= ids[:-1] != ids[1:]
    return borders


def plot_class_quality(names: Sequence[str], things: Sequence[bool], qualities: np.ndarray, output: Path) -> None:
    """Bars of the PQ of every class in percent, things and stuff in two colours, with SQ and RQ as marks, sorted;
    classes that do not occur are left out.

    Args:
        names: of the K classes.
        things: of every class whether it is a thing.
        qualities: PQ, SQ and RQ (3, K), NaN for classes without.
        output: the file.
    """
    order = [int(k) for k in np.argsort(-qualities[0], kind="stable") if not np.isnan(qualities[0][k])]
    figure = Figure(figsize=(max(7.0, 0.19 * len(order) + 2), 4.4), layout="constrained")
    axes, place = figure.subplots(), np.arange(len(order))
    for kind, colour in (("things", "#2b6cb0"), ("stuff", "#38a169")):
        chosen = [i for i in place if bool(things[order[i]]) == (kind == "things")]
        axes.bar(chosen, qualities[0][[order[i] for i in chosen]], color=colour, width=0.75, label=f"PQ, {kind}")
    for row, name, mark in ((1, "SQ", "_"), (2, "RQ", ".")):
        axes.plot(place, qualities[row][order], mark, color="black", markersize=7, label=name)
    axes.set_xticks(place, [names[k] for k in order], rotation=90, fontsize=7 if len(order) < 60 else 5)
    axes.set(ylabel="%", ylim=(0, 100), xlim=(-0.8, max(len(order), 1) - 0.2))
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(output, dpi=120)
