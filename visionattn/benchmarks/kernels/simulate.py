"""The useful share of a tiled kernel's work and its largest possible speed-up, from the geometry alone.

It follows the simulator of Generalized Neighborhood Attention (Hassani et al. 2025, arXiv 2504.16922). A kernel attends
from query tiles to key tiles on a fixed grid inside each dilation group. A key tile is computed completely if one query
of the query tile sees one of its keys, so the masked pairs are wasted. ``halo_share`` is the useful share of a kernel
that starts its keys at the first visible one, as this package's kernels do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from visionattn.benchmarks.record import Row, show
from visionattn.kernels.geometry import AxisRule, Geometry, Pair, neighborhood_geometry, window_geometry

TILES: tuple[tuple[int, int], ...] = ((4, 4), (4, 8), (8, 8), (8, 16), (16, 16))


@dataclass(frozen=True)
class AxisWork:
    """Counts of one axis, summed over its query tiles; the counts of a map are products of those of its axes."""

    pairs: int
    query_tiles: int
    visits: int
    worst_visits: int
    halo_keys: int


def axis_work(rule: AxisRule, length: int, tile: int, key_tile: int) -> AxisWork:
    """Divide each dilation group into query tiles and count the key tiles that each of them visits.

    Both grids of tiles start at coordinate 0, or at a border of a window partition.
    """
    starts, extents = (span.tolist() for span in rule.spans(length)[2:])
    before = -rule.shift % rule.size if rule.is_window else 0
    visits, halos = [], []
    for group in range(min(rule.dilation, length)):
        runs = [(starts[p], starts[p] + extents[p]) for p in range(group, length, rule.dilation)]
        for first in range(-(before % tile), len(runs), tile):
            inside = runs[max(first, 0) : first + tile]
            begin, end = min(run[0] for run in inside), max(run[1] for run in inside)
            visits.append((end - 1 + before) // key_tile - (begin + before) // key_tile + 1)
            halos.append(end - begin)
    return AxisWork(sum(extents), len(visits), sum(visits), max(visits), sum(halos))


def simulate_geometry(
    geometry: Geometry, height: int, width: int, tile: tuple[int, int], key_tile: tuple[int, int]
) -> Row:
    """The figures of one choice of tiles on a map."""
    rows = axis_work(geometry.rows, height, tile[0], key_tile[0])
    cols = axis_work(geometry.cols, width, tile[1], key_tile[1])
    pairs, points = rows.pairs * cols.pairs, tile[0] * tile[1]
    computed = rows.visits * cols.visits * points * key_tile[0] * key_tile[1]
    dense_tiles = -(-height // tile[0]) * -(-width // tile[1])
    dense = dense_tiles * points * -(-height // key_tile[0]) * -(-width // key_tile[1]) * key_tile[0] * key_tile[1]
    return {
        "tile": f"{tile[0]}x{tile[1]}",
        "key_tile": f"{key_tile[0]}x{key_tile[1]}",
        "query_tiles": rows.query_tiles * cols.query_tiles,
        "visits_mean": rows.visits * cols.visits / (rows.query_tiles * cols.query_tiles),
        "visits_most": rows.worst_visits * cols.worst_visits,
        "useful_share": pairs / computed,
        "halo_share": pairs / (rows.halo_keys * cols.halo_keys * points),
        "speedup_bound": dense / computed,
        "speedup_ideal": (height * width) ** 2 / pairs,
    }


def simulate(
    size: Pair,
    window: Pair,
    *,
    stride: Pair = 1,
    dilation: Pair = 1,
    shift: Pair | None = None,
    tile: Sequence[int] | None = None,
    key_tile: Sequence[int] | None = None,
    console: Console | None = None,
) -> list[Row]:
    """Compute the useful work and the speed-up bound of an attention on a map; print a table.

    Args:
        size: rows and columns of the map.
        window: kernel size of a neighborhood; with ``shift``, size of a window.
        stride: stride of the neighborhood.
        dilation: dilation of both.
        shift: shift of the window partition; None: a neighborhood.
        tile: queries (rows, columns) of a tile; None tries several.
        key_tile: keys (rows, columns) of a tile; None: as ``tile``.
        console: where to print.

    Returns:
        One row per tile. Shares are of the computed pairs. ``speedup_bound`` is dense tiles over visited tiles, against
        self-attention on the whole map; ``speedup_ideal`` is the ratio of pairs, the bound without wasted work.

    Raises:
        ValueError: the geometry does not fit the map, or a tile is smaller than 1.
    """
    height, width = _pair(size)
    if shift is None:
        geometry = neighborhood_geometry(height, width, window, dilation, stride)
    else:
        geometry = window_geometry(height, width, window, shift, dilation)
    results = [simulate_geometry(geometry, height, width, *tiles) for tiles in _tiles(tile, key_tile)]
    kind = "kernel" if shift is None else "window"
    title = f"map {height}x{width}, {kind} {window}, stride {stride}, dilation {dilation}"
    _show(results, title, console)
    return results


def _tiles(
    tile: Sequence[int] | None, key_tile: Sequence[int] | None
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield (queries, keys) of each choice of tiles to try."""
    for queries in TILES if tile is None else (_pair(tile),):
        keys = queries if key_tile is None else _pair(key_tile)
        if min(*queries, *keys) < 1:
            raise ValueError(f"tiles must be at least 1 x 1, got queries {queries} and keys {keys}")
        yield queries, keys


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _show(rows: list[Row], title: str, console: Console | None) -> None:
    headings = ("tile", "key tile", "visits", "most", "useful", "halo", "speed-up", "ideal")
    show(headings, map(_cells, rows), title, console)


def _cells(row: Row) -> list[str]:
    shares = (f"{row[name]:.1%}" for name in ("useful_share", "halo_share"))
    return [
        *(row["tile"], row["key_tile"], f"{row['visits_mean']:.2f}", str(row["visits_most"]), *shares),
        *(f"{row['speedup_bound']:.2f}x", f"{row['speedup_ideal']:.2f}x"),
    ]
