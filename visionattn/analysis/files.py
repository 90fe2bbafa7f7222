"""The pictures and numbers of an inspection.

Shapes: N heads, h w map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from visionattn.analysis.inspection import Inspection
from visionattn.analysis.maps import AttentionMap
from visionattn.analysis.rollouts import Flow
from visionattn.drawing.attention import (
    Box,
    Weights,
    draw_outline,
    draw_points,
    draw_table,
    draw_weights,
    plot_heads,
    save_sheet,
)
from visionattn.tasks.inspection import Scored

_WIDEST, _MOST_IN_ROW = 13, 6  # pictures in a row of a sheet
_LARGE = 320
_BLANK = (Image.new("RGB", (1, 1), "white"), "")
FIGURES = {"distance": "mean attention distance (pixels)", "entropy": "entropy (bits)", "importance": "importance"}


def write_files(found: Inspection, folder: Path) -> dict[str, Any]:
    """Write all pictures of one image, and ``maps.npz``; its record for ``inspection.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_points(found.image, found.wanted.points).save(folder / "points.png")
    for write in (_write_attention, _write_fields, _write_flows, _write_heads, _write_tables):
        write(found, folder)
    np.savez_compressed(folder / "maps.npz", **dict(_arrays(found)))  # type: ignore[arg-type]
    return record_of(found)


def _write_attention(found: Inspection, folder: Path) -> None:
    for number, point in enumerate(found.wanted.points, 1):
        mine = [one for one in found.maps if one.point == point]
        overview = []
        for stage, group in groupby(mine, key=lambda one: one.stage):
            blocks = [list(same) for _, same in groupby(group, key=lambda one: (one.block, one.mixer))]
            drawn = [_tiles(found, block) for block in blocks]
            columns = max(map(len, drawn))
            title = f"Attention of point {number} in {stage}: {', '.join(dict.fromkeys(b[0].mixer for b in blocks))}"
            wide = columns if columns <= _WIDEST else -(-columns // 2)
            tiles = [tile for block in drawn for tile in [*block, *[_BLANK] * (-len(block) % wide)]]
            save_sheet(tiles, folder / "attention" / f"point{number}_{stage}.png", columns=wide, title=title)
            overview += [block[0] for block in drawn]
        if overview:
            title = f"Attention of point {number}, the mean over the heads of each block"
            save_sheet(overview, folder / f"attention_point{number}.png", columns=6, title=title)


def _tiles(found: Inspection, block: list[AttentionMap]) -> list[tuple[Image.Image, str]]:
    """The mean over the heads of a block, then each head."""
    first = block[0]
    mean = mean_weights(found, block)
    name = f"{first.stage}, block {first.block}"
    implicit = first.kind == "implicit"
    what = "implicit attention" if implicit else f"mean of {sum(len(one.heads) for one in block)} heads"
    aside = [text for text in (_aside(block, "padding"), _aside(block, "front")) if text]
    tiles = [(draw_weights(found.image, mean, token_box(found, first)), "\n".join([name, what, *aside[:1]]))]
    return tiles if implicit else [*tiles, *_drawn_heads(found, block, name)]


def _aside(block: list[AttentionMap], what: str) -> str:
    shares = np.concatenate([_numpy(getattr(one, what)) for one in block])
    words = {"padding": "on padding", "front": "on carriers"}[what]
    return f"{shares.mean():.0%} {words}" if shares.max() > 0.005 else ""


def _drawn_heads(found: Inspection, block: list[AttentionMap], name: str) -> Iterator[tuple[Image.Image, str]]:
    for one, place, head in _tiles_of_heads(block):
        weights = Weights(_numpy(one.weights[place]), one.cell, one.origin, _numpy(one.real))
        yield draw_weights(found.image, weights, token_box(found, one)), f"{name}\nhead {head}"


def _tiles_of_heads(block: list[AttentionMap]) -> Iterator[tuple[AttentionMap, int, int]]:
    for one in block:
        for place, head in enumerate(one.heads):
            yield one, place, head


def mean_weights(found: Inspection, block: list[AttentionMap]) -> Weights:
    """The mean over all heads of a block; where its heads lie on different grids, on the tokens of the stage."""
    if len(block) == 1:
        one = block[0]
        return Weights(_numpy(one.weights).mean(0), one.cell, one.origin, _numpy(one.real))
    stage = next(stage for stage in found.kept.stages if stage.name == block[0].stage)
    total = sum(on_tokens(_numpy(one.weights), one.cell, one.origin, stage.grid, stage.stride).sum(0) for one in block)
    return Weights(np.asarray(total) / sum(len(one.heads) for one in block), float(stage.stride))


def on_tokens(
    weights: np.ndarray, cell: float, origin: tuple[float, float], grid: tuple[int, int], stride: int
) -> np.ndarray:
    """Weights ``(N, h, w)`` of cells on the tokens of a stage ``(N, H, W)``, without padding.

    Args:
        weights: of a grid over the image.
        cell: pixels along each side of an entry.
        origin: (top, left) of the grid in pixels.
        grid: rows and columns of the stage's map.
        stride: pixels along each side of a token.
    """
    rows, columns = (
        np.floor((np.arange(side) - start / stride) / (cell / stride)).astype(int).clip(0, most - 1)
        for side, start, most in zip(grid, origin, weights.shape[1:], strict=True)
    )
    counts = np.bincount(rows)[rows][:, None] * np.bincount(columns)[columns][None]
    return np.asarray(weights[:, rows[:, None], columns[None]] / counts)


def token_box(found: Inspection, one: AttentionMap) -> Box:
    """The rectangle of the token that asks, in pixels of the image."""
    stride = next(stage.stride for stage in found.kept.stages if stage.name == one.stage)
    top, left = (place * stride for place in one.token)
    return top, left, min(top + stride, found.image.height), min(left + stride, found.image.width)


def _write_fields(found: Inspection, folder: Path) -> None:
    tiles = []
    for one in found.fields:
        stride = next(stage.stride for stage in found.kept.stages if stage.name == one.stage)
        token = [int(side) // stride * stride for side in one.center]
        box = (token[0], token[1], token[0] + stride, token[1] + stride)
        possible = Weights(_numpy(one.possible).astype(float), 1.0, flat=True)
        strength = Weights(_numpy(one.strength), 1.0)
        reach = f"{one.theoretical_area:.1%} of the image\nto {one.theoretical_radius:.0f} pixels away"
        effect = f"95 % in {one.effective_area:.1%} of it\nradius {one.effective_radius:.1f} pixels"
        tiles.append((draw_weights(found.image, possible, box), f"{one.stage}: theoretical\n{reach}"))
        tiles.append((draw_weights(found.image, strength, box), f"{one.stage}: effective\n{effect}"))
    if tiles:
        columns = len(tiles) if len(tiles) <= _MOST_IN_ROW else 4
        save_sheet(tiles, folder / "field.png", columns=columns, title="Receptive fields of point 1")


def flow_weights(flow: Flow, place: int) -> Weights:
    """One map of a flow, to draw."""
    return Weights(_numpy(flow.values[place]), float(flow.stride))


def _write_flows(found: Inspection, folder: Path) -> None:
    if found.rollout is not None:
        captions = ["whole map", *(f"point {number}" for number in range(1, len(found.wanted.points) + 1))]
        tiles = [
            (draw_weights(found.image, flow_weights(found.rollout, place)), caption)
            for place, caption in enumerate(captions)
        ]
        save_sheet(tiles, folder / "rollout.png", columns=6, title="Attention rollout")
    if found.relevance is not None and found.scored is not None:
        drawn = draw_weights(found.image, flow_weights(found.relevance, 0), edge=_LARGE)
        tiles = [(_predicted(found.image, found.scored), found.scored.about), (drawn, "relevance of each patch")]
        title = "What attention brought to this prediction"
        save_sheet(tiles, folder / "relevance.png", columns=2, title=title, edge=_LARGE)


def _predicted(image: Image.Image, scored: Scored) -> Image.Image:
    """The image with the box or the mask of a prediction."""
    if scored.mask is not None:
        cell = image.height / scored.mask.shape[0]
        return draw_weights(image, Weights(_numpy(scored.mask).astype(float), cell, flat=True), edge=_LARGE)
    return image if scored.box is None else draw_outline(image, scored.box)


def _write_heads(found: Inspection, folder: Path) -> None:
    if not found.statistics:
        return
    blocks = [list(same) for _, same in groupby(found.statistics, key=lambda one: (one.stage, one.block, one.mixer))]
    names = [f"{block[0].stage}.{block[0].block}" for block in blocks]
    figures = {
        words: [[getattr(one, key) for one in block] for block in blocks]
        for key, words in FIGURES.items()
        if getattr(found.statistics[0], key) is not None
    }
    plot_heads(figures, names, folder / "heads.png")


def _write_tables(found: Inspection, folder: Path) -> None:
    for stage, group in groupby(found.tables, key=lambda one: one.stage):
        tables = list(group)
        largest = max(float(one.values.abs().max()) for one in tables)
        tiles = [
            (draw_table(_numpy(values), largest), f"{stage}, block {one.block}\nhead {head}")
            for one in tables
            for head, values in enumerate(one.values)
        ]
        heads = max(len(one.values) for one in tables)
        title = f"Position bias in {stage}, ±{largest:.2f}"
        save_sheet(tiles, folder / f"bias_{stage}.png", columns=min(heads, _WIDEST), title=title)


def _arrays(found: Inspection) -> Iterator[tuple[str, np.ndarray]]:
    for one in found.maps:
        number = found.wanted.points.index(one.point) + 1
        name = one.mixer.partition(":")[0] if ":" in one.mixer else "attention"
        yield f"{name}_point{number}_{one.stage}_block{one.block}_head{one.heads[0]}", _numpy(one.weights)
    for field in found.fields:
        yield f"field_{field.stage}_theoretical", _numpy(field.possible)
        yield f"field_{field.stage}_effective", _numpy(field.strength)
    if found.rollout is not None:
        yield "rollout", _numpy(found.rollout.values)
    if found.relevance is not None:
        yield "relevance", _numpy(found.relevance.values[0])
    for table in found.tables:
        yield f"bias_{table.stage}_block{table.block}_{table.mixer.partition(':')[0]}", _numpy(table.values)


def record_of(found: Inspection) -> dict[str, Any]:
    """The numbers of one image."""
    passed = found.rollout.passed_over if found.rollout is not None else ()
    return {
        "image": found.name,
        "size": list(found.image.size),
        "points": [list(point) for point in found.wanted.points],
        "prediction": None if found.scored is None else found.scored.about,
        "attention": [_map_record(one) for one in found.maps],
        "fields": [
            {
                "stage": one.stage,
                "point": list(one.point),
                "theoretical_area": one.theoretical_area,
                "theoretical_radius": one.theoretical_radius,
                "effective_area": one.effective_area,
                "effective_radius": one.effective_radius,
            }
            for one in found.fields
        ],
        "heads": [asdict(one) for one in found.statistics],
        "passed_over": list(passed),
        "notes": found.notes,
    }


def _map_record(one: AttentionMap) -> dict[str, Any]:
    """The figures of one map; its weights are in ``maps.npz``."""
    row, column = np.unravel_index(int(one.weights.sum(0).argmax()), tuple(one.weights.shape[1:]))
    middle = [start + (int(place) + 0.5) * one.cell for place, start in zip((row, column), one.origin, strict=True)]
    return {
        "stage": one.stage,
        "block": one.block,
        "mixer": one.mixer,
        "kind": one.kind,
        "point": list(one.point),
        "token": list(one.token),
        "heads": list(one.heads),
        "padding": [round(value, 6) for value in one.padding.tolist()],
        "carriers": [round(value, 6) for value in one.front.tolist()],
        "strongest_at": middle,
        "largest": [round(value, 6) for value in one.weights.flatten(1).amax(1).tolist()],
    }


def _numpy(values: Tensor) -> np.ndarray:
    return np.asarray(values.detach().cpu().float() if values.is_floating_point() else values.cpu())
