"""``report.html`` of an inspection: tokens that tell what they attend to, pictures and tables.

Shapes: A B queries from top to bottom and from left to right, H W tokens of a stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from visionattn.analysis.choosing import Point
from visionattn.analysis.files import on_tokens
from visionattn.analysis.grids import among_carriers, layout_of, token_at
from visionattn.analysis.inspection import CAUTION, Inspection
from visionattn.analysis.rollouts import rollout_in
from visionattn.analysis.trace import BlockTrace, Part, StageTrace
from visionattn.reports import Column, Facts, Picture, Report, Section, Table, Text, TokenMap

_SIDE, _MOST_HEADS = 14, 8
_TABLES = "The middle of each square is the query itself; blue lowers the logits, red raises them."
_PICTURES = {
    "relevance.png": ("Relevance", "What attention brought to the prediction (Chefer et al. 2021)."),
    "rollout.png": ("Rollout", "Where the content of the last map comes from, if attention alone moved it."),
    "field.png": ("Receptive fields", "The pixels that can reach the token, and those that do (Luo et al. 2016)."),
    "heads.png": ("Heads", "How far and how evenly they look, and how much the prediction depends on each."),
}
"""Tokens along each side of the picture that can be pointed at."""


def write_page(folder: Path, inspections: Sequence[Inspection], model: str, command: str) -> Path:
    """Write the page of all images, beside their folders."""
    links = {"inspection.json": "inspection.json"} | {found.name: f"{found.name}/maps.npz" for found in inspections}
    report = Report("Inspection", model, command=command, headline=_headline(inspections), links=links)
    report.add(Text("What this shows, and what it does not", CAUTION))
    for found in inspections:
        ahead = f"{found.name}: " if len(inspections) > 1 else ""
        report.add(*_sections(found, folder / found.name, ahead))
    file = folder / "report.html"
    report.write(file)
    return file


def _headline(inspections: Sequence[Inspection]) -> dict[str, str]:
    first = inspections[0]
    kinds = dict.fromkeys(part.kind for _, _, part in first.kept.parts())
    figures = {"mixers": ", ".join(kinds), "images": str(len(inspections))}
    if first.fields:
        last = first.fields[-1]
        figures[f"of the image reach a token of {last.stage}"] = f"{last.theoretical_area:.0%}"
        figures["effectively"] = f"{last.effective_area:.0%}"
    return figures


def _sections(found: Inspection, folder: Path, ahead: str) -> Iterator[Section]:
    facts = {"image": found.name, "seen by the network as": f"{found.image.height} x {found.image.width} pixels"}
    if found.scored is not None:
        facts["prediction"] = found.scored.about
    if found.rollout is not None and found.rollout.passed_over:
        facts["taken for the identity in rollout and relevance"] = ", ".join(found.rollout.passed_over)
    yield Facts(found.name, facts | {f"note {i}": note for i, note in enumerate(found.notes, 1)})
    attention = dict(_token_maps(found)) if "attention" in found.wanted.measures else {}
    if attention:
        note = "Point at a token, or use the arrow keys; the list chooses the block. Each token has its own scale."
        title = f"{ahead}What a token attends to"
        yield TokenMap(title, _on_canvas(found), attention, note=note, start=_first_point(found))
    for name, (title, caption) in _PICTURES.items():
        if (folder / name).is_file():
            yield Picture(f"{ahead}{title}", _opened(folder / name), caption)
    for number in range(1, min(len(found.wanted.points), 2) + 1):
        if (folder / f"attention_point{number}.png").is_file():
            title = f"{ahead}Attention of point {number}"
            yield Picture(title, _opened(folder / f"attention_point{number}.png"), "Every head: the folder attention.")
    for file in sorted(folder.glob("bias_*.png")):
        stage = file.stem.removeprefix("bias_")
        yield Picture(f"{ahead}Position bias in {stage}", _opened(file), _TABLES)
    if found.statistics:
        yield _head_table(found, f"{ahead}Statistics of heads")


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def _head_table(found: Inspection, title: str) -> Table:
    columns = [
        Column("head"),
        Column("distance", digits=1, bar=True),
        Column("entropy", digits=2),
        Column("keys", digits=0),
        Column("padding", digits=3),
        Column("importance", digits=4, bar=True),
    ]
    rows = [
        [f"{one.stage}, block {one.block}, head {one.head}", one.distance, one.entropy, one.keys, one.padding,
         one.importance]
        for one in found.statistics
    ]  # fmt: skip
    note = (
        "Distance in pixels of the image; entropy in bits; keys a query sees; share of attention on padding and "
        "carriers; importance: change of the prediction's score at first order if the head is taken away."
    )
    return Table(title, columns, rows, note=note, sort="importance")


def _token_maps(found: Inspection) -> Iterator[tuple[str, np.ndarray]]:
    """Of each stage the mean over the heads of the last two blocks, the heads of the very last block, and rollout."""
    chosen = [one for one in found.wanted.choice.parts(found.kept) if one[2].matrices and not among_carriers(one[2])]
    stages = [list(group) for _, group in groupby(chosen, key=lambda one: one[0].index)]
    for place, group in enumerate(reversed(stages)):
        for stage, block, part in reversed(group[-2:]):
            heads, values = _attention(found, stage, block, part)
            name = f"{stage.name}, block {block.index}"
            yield f"{name}, mean of {len(heads)} heads", values.mean(0)
            if not place and block is group[-1][1]:
                for head, one in zip(heads[:_MOST_HEADS], values, strict=False):
                    yield f"{name}, head {head}", one
    if found.rollout is not None:
        yield "rollout of the last map", _rollouts(found)


def _attention(found: Inspection, stage: StageTrace, block: BlockTrace, part: Part) -> tuple[list[int], np.ndarray]:
    """The chosen heads, and what the tokens at a grid of points attend to, ``(N, A, B, H, W)``, over the canvas."""
    rows, columns, points = _points(found)
    tokens = [token_at(point, found.kept.image_size, stage.stride, stage.grid) for point in points]
    numbers: list[int] = []
    maps: list[np.ndarray] = []
    first = 0
    for call in part.matrices:
        chosen = [head for head in range(call.num_heads) if found.wanted.choice.has_head(first + head)]
        numbers += [first + head for head in chosen]
        first += call.num_heads
        layout = layout_of(call, part, block, stage)
        queries = torch.tensor([layout.query_at(token, call) for token in tokens], device=call.q.device)
        with torch.no_grad():
            dense = call.rows(queries).dense(call.num_keys)[0, chosen].flatten(0, 1)
        (height, width), stride = call.key_grid, stage.stride
        keys = dense[:, : height * width].unflatten(1, (height, width)).float().cpu().numpy()
        origin = (-float(layout.origin[0] * stride), -float(layout.origin[1] * stride))
        seen = _covering(found, stage, on_tokens(keys, layout.key_cell * stride, origin, stage.grid, stride))
        maps.append(seen.reshape(len(chosen), rows, columns, *seen.shape[1:]))
    return numbers, np.concatenate(maps)


def _rollouts(found: Inspection) -> np.ndarray:
    """Where the content of the last chosen map comes from, at a grid of points, ``(A, B, H, W)``."""
    rows, columns, points = _points(found)
    last = max(found.wanted.choice.stages or [len(found.kept.stages) - 1])
    values = rollout_in(found.kept, points, last).values
    stage = found.kept.stages[0]
    return _covering(found, stage, values.cpu().numpy()).reshape(rows, columns, *_cells(found, stage))


def _canvas(found: Inspection) -> tuple[int, int]:
    """Height and width in pixels over which whole tokens of every stage lie."""
    stride = math.lcm(*(stage.stride for stage in found.kept.stages))
    height, width = (-(-side // stride) * stride for side in found.image.size[::-1])
    return height, width


def _cells(found: Inspection, stage: StageTrace) -> tuple[int, int]:
    height, width = _canvas(found)
    return height // stage.stride, width // stage.stride


def _covering(found: Inspection, stage: StageTrace, values: np.ndarray) -> np.ndarray:
    """Maps ``(N, H, W)`` with zeros at the bottom and the right, so that they cover the canvas."""
    rows, columns = (whole - own for whole, own in zip(_cells(found, stage), values.shape[1:], strict=True))
    return np.pad(values, ((0, 0), (0, max(rows, 0)), (0, max(columns, 0))))


def _points(found: Inspection) -> tuple[int, int, tuple[Point, ...]]:
    """Rows and columns of the tokens that can be pointed at, and a point in each; beyond the image its last one."""
    canvas, finest = _canvas(found), _cells(found, found.kept.stages[0])
    rows, columns = (min(side, _SIDE) for side in finest)
    shares = [
        np.minimum((np.arange(count) + 0.5) / count * whole / own, 1.0).tolist()
        for count, whole, own in zip((rows, columns), canvas, found.image.size[::-1], strict=True)
    ]
    return rows, columns, tuple((row, column) for row in shares[0] for column in shares[1])


def _first_point(found: Inspection) -> Point:
    (row, column), (height, width) = found.wanted.points[0], _canvas(found)
    return row * found.image.height / height, column * found.image.width / width


def _on_canvas(found: Inspection) -> Image.Image:
    height, width = _canvas(found)
    canvas = Image.new("RGB", (width, height), (128, 128, 128))
    canvas.paste(found.image, (0, 0))
    return canvas
