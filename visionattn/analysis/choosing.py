"""Points of an image, and stages, blocks and heads of a model: what a user chooses, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from visionattn.analysis.trace import BlockTrace, Part, Recording, StageTrace, backbone_of

Point = tuple[float, float]
"""Where a point lies: its row and its column as shares of the image's height and width, from 0 to 1."""
POINTS: tuple[Point, ...] = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
"""The center and a few around it."""
_WRITTEN = "a point is [row, column] in shares of the image's height and width, from 0 (top, left) to 1"


def as_points(points: Any) -> tuple[Point, ...]:
    """Points as they are used; None stands for :data:`POINTS`.

    Raises:
        ValueError: something else, or a point outside of the image.
    """
    if points is None:
        return POINTS
    listed = list(points) if isinstance(points, Sequence) and not isinstance(points, str) else [points]
    if len(listed) == 2 and all(isinstance(number, (int, float)) for number in listed):
        listed = [listed]
    return tuple(_as_point(point) for point in listed)


def _as_point(point: Any) -> Point:
    pair = list(point) if isinstance(point, Sequence) and not isinstance(point, str) else []
    if len(pair) != 2 or any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in pair):
        raise ValueError(f"{_WRITTEN}; got {point}")
    if not all(0 <= number <= 1 for number in pair):
        raise ValueError(f"the point {list(pair)} lies outside of the image: {_WRITTEN}")
    return float(pair[0]), float(pair[1])


@dataclass(frozen=True)
class Choice:
    """Which stages (from 0 on), blocks and heads; None: all."""

    stages: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    def parts(self, kept: Recording) -> Iterator[tuple[StageTrace, BlockTrace, Part]]:
        """The mixers of the chosen stages and blocks."""
        for stage, block, part in kept.parts():
            if self.has(stage.index, self.stages) and self.has(block.index, self.blocks):
                yield stage, block, part

    def has_head(self, head: int) -> bool:
        """Whether a head is chosen."""
        return self.has(head, self.heads)

    @staticmethod
    def has(number: int, numbers: tuple[int, ...] | None) -> bool:
        """Whether a number is among the chosen ones."""
        return numbers is None or number in numbers


def choose(model: nn.Module, stages: Any = None, blocks: Any = None, heads: Any = None) -> Choice:
    """Check a choice against a model.

    Args:
        model: a backbone of visionattn, or a task around one.
        stages: ``s1``, ``s2``, ... or 1, 2, ...; one or several; None: all.
        blocks: numbers from 0 on; None: all.
        heads: numbers from 0 on; None: all.

    Raises:
        ValueError: the model has no such stage, block or head; names those that it has.
    """
    listed = Recording(model).stages
    names = {stage.name: stage.index for stage in listed} | {str(stage.index + 1): stage.index for stage in listed}
    chosen = None if stages is None else tuple(_stage(word, names) for word in _several(stages))
    within = [stage for stage in listed if Choice.has(stage.index, chosen)]
    where = f"of {', '.join(stage.name for stage in within)}"
    known = sorted({block.index for stage in within for block in stage.blocks})
    picked = _numbers("block", blocks, known, where)
    count = [
        heads_of(part.mixer)
        for stage in within
        for block in stage.blocks
        if Choice.has(block.index, picked)
        for part in block.parts
    ]
    return Choice(chosen, picked, _numbers("head", heads, list(range(max(1, *count))), where))


def heads_of(mixer: nn.Module) -> int:
    """Heads that a mixer declares, those of its branches added up; 0 where it declares none."""
    own = getattr(mixer, "num_heads", None)
    return own if isinstance(own, int) else sum(heads_of(child) for child in mixer.children())


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _stage(word: Any, names: dict[str, int]) -> int:
    if str(word) not in names:
        known = ", ".join(name for name in names if name.startswith("s"))
        raise ValueError(f"the model has no stage {word}; its stages are {known}")
    return names[str(word)]


def _numbers(what: str, value: Any, known: list[int], where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    for number in _several(value):
        if isinstance(number, bool) or number not in known:
            has = f"they are {known[0]} to {known[-1]}" if known else "there is none"
            raise ValueError(f"no {what} {number} in the blocks {where}: {what}s are counted from 0, and {has}")
    return tuple(_several(value))


def stage_of(model: nn.Module, stage: Any) -> int:
    """Index of one stage; the last one for None.

    Raises:
        ValueError: the model has no such stage.
    """
    if stage is None:
        return len(backbone_of(model).stages) - 1
    stages = choose(model, stage).stages
    assert stages is not None
    return stages[0]
