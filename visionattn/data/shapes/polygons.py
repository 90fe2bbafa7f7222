"""COCO's forms of masks: polygons along the borders of pixels, and run lengths for crowds."""

from __future__ import annotations

import numpy as np

Polygon = list[int]
"""x0, y0, x1, y1, ... in pixel corners: (0, 0) is the image's top left corner."""


def mask_to_polygons(mask: np.ndarray) -> list[Polygon]:
    """Polygons whose union covers exactly the mask, bool ``(H, W)``.

    COCO's polygons have no holes, so a mask with a hole is cut in two along a column through it.
    """
    loops = _border_loops(mask)
    holes = [loop for loop in loops if _signed_area(loop) < 0]
    if not holes:
        return [_without_straight_points(loop) for loop in loops]
    columns = [x for x, _ in holes[0]]
    cut = (min(columns) + max(columns)) // 2
    left, right = mask.copy(), mask.copy()
    left[:, cut:] = False
    right[:, :cut] = False
    return mask_to_polygons(left) + mask_to_polygons(right)


def _border_loops(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Closed walks along pixel borders with the mask on the right hand; outer ones run clockwise (y points down)."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # side facing (dy, dx), walk from corner to corner as offsets of (x, y)
    sides = (((-1, 0), (0, 0), (1, 0)), ((0, 1), (1, 0), (1, 1)), ((1, 0), (1, 1), (0, 1)), ((0, -1), (0, 1), (0, 0)))
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (dy, dx), start, stop in sides:
        beside = np.roll(padded, (-dy, -dx), axis=(0, 1))[1:-1, 1:-1]
        rows, columns = np.nonzero(inside & ~beside)
        for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
            following.setdefault((x + start[0], y + start[1]), []).append((x + stop[0], y + stop[1]))
    loops = []
    while following:
        first = min(following)
        loops.append(_walk(first, following))
    return loops


def _walk(first: tuple[int, int], following: dict[tuple[int, int], list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Take one loop out of ``following``; where two pixels touch at a corner it turns right, staying on its pixel."""
    loop, here, heading = [], first, (0, 0)
    while True:
        loop.append(here)
        choices = following[here]
        right = (here[0] - heading[1], here[1] + heading[0])
        there = right if len(choices) > 1 and right in choices else choices[0]
        choices.remove(there)
        if not choices:
            del following[here]
        heading, here = (there[0] - here[0], there[1] - here[1]), there
        if here == first:
            return loop


def _signed_area(loop: list[tuple[int, int]]) -> float:
    points = np.array(loop)
    x, y = points[:, 0], points[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _without_straight_points(loop: list[tuple[int, int]]) -> Polygon:
    points = np.array(loop)
    turns = np.any(points - np.roll(points, 1, 0) != np.roll(points, -1, 0) - points, axis=1)
    return [int(value) for value in points[turns].reshape(-1)]


def mask_to_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: down the columns, starting with the number of zeros."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"counts": ([0] if flat[0] else []) + [int(run) for run in runs], "size": [int(edge) for edge in mask.shape]}


def mask_to_box(mask: np.ndarray) -> list[int]:
    """COCO's box: x, y, width, height of the mask's pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
