"""All measures of one model on one image: what ``visionattn inspect`` shows.

Shapes: N heads, H W image, h w map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor, nn

from visionattn.analysis.choosing import Choice, Point
from visionattn.analysis.field import Field, check_size, fields_of
from visionattn.analysis.heads import HeadStatistics, statistics_in
from visionattn.analysis.maps import AttentionMap, maps_in
from visionattn.analysis.relevances import Backward, backward, relevance_of, score_of
from visionattn.analysis.rollouts import Flow, rollout_in
from visionattn.analysis.tables import PositionTable, tables_in
from visionattn.analysis.trace import Recording, record
from visionattn.errors import ConfigError
from visionattn.tasks.inspection import InspectsImages, Scored

MEASURES = ("attention", "field", "rollout", "relevance", "statistics", "bias")
CAUTION = (
    "Attention shows where content can flow, not why the model decides as it does "
    "(Jain and Wallace 2019, Attention is not Explanation, arXiv 1902.10186)."
)
_MOST_PAIRS = 4_000_000_000


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at.

    Attributes:
        points: of the image.
        choice: stages, blocks and heads.
        measures: of :data:`MEASURES`.
        target: which prediction relevance and importance are of; None: the most certain one.
    """

    points: tuple[Point, ...]
    choice: Choice
    measures: tuple[str, ...] = MEASURES
    target: int | str | None = None


@dataclass
class Inspection:
    """What was found on one image.

    Attributes:
        name: of the image; usable as a path.
        image: the image as the network sees it, to draw on.
        kept: the recorded pass.
        wanted: what was asked for.
        notes: sentences on what could not be measured.
    """

    name: str
    image: Image.Image
    kept: Recording
    wanted: Wanted
    maps: list[AttentionMap] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    rollout: Flow | None = None
    relevance: Flow | None = None
    scored: Scored | None = None
    statistics: list[HeadStatistics] = field(default_factory=list)
    tables: list[PositionTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def as_measures(words: Any) -> tuple[str, ...]:
    """Measures in their fixed order; None: all.

    Raises:
        ConfigError: an unknown one.
    """
    if words is None:
        return MEASURES
    listed = [words] if isinstance(words, str) else list(words)
    for word in listed:
        if word not in MEASURES:
            raise ConfigError(f"measures are some of {', '.join(MEASURES)}, got {word}")
    if not listed:
        raise ConfigError(f"measures is empty: name some of {', '.join(MEASURES)}")
    return tuple(measure for measure in MEASURES if measure in listed)


def inspect_image(model: nn.Module, images: Tensor, image: Image.Image, name: str, wanted: Wanted) -> Inspection:
    """Measure one image.

    Args:
        model: a task.
        images: the image, normalized, ``(1, C, H, W)``.
        image: the same to draw on, of the same size.
        name: of the image.
        wanted: what is to be looked at.

    Raises:
        ConfigError: an image that is too large, or a prediction that was asked for and is not made.
    """
    if "field" in wanted.measures:
        check_size(images)
    done, note = _with_gradient(model, images, wanted)
    kept = done.kept if done is not None else record(model, images)
    found = Inspection(name, image, kept, wanted, notes=[note] if note else [])
    found.scored = None if done is None else done.scored
    if {"rollout", "relevance", "statistics"} & set(wanted.measures):
        _check_pairs(kept)
    for measure in wanted.measures:
        _MEASURED[measure](found, model, images, done)
    return found


def _with_gradient(model: nn.Module, images: Tensor, wanted: Wanted) -> tuple[Backward | None, str]:
    """The pass with the gradient of a prediction, or why there is none."""
    if not {"relevance", "statistics"} & set(wanted.measures):
        return None, ""
    try:
        return backward(model, images, score_of(model, images, wanted.target, wanted.points[0])), ""
    except ConfigError as error:
        if wanted.target is not None:
            raise
        return None, f"No relevance and no importance of heads: {error}."


def _check_pairs(kept: Recording) -> None:
    pairs = sum(
        call.num_heads * call.num_queries * call.keys_each() for _, _, part in kept.parts() for call in part.matrices
    )
    if pairs > _MOST_PAIRS:
        height, width = kept.image_size
        raise ConfigError(
            f"at {height} x {width} pixels the heads have {pairs:.1e} pairs of query and key, more than "
            f"{_MOST_PAIRS:.0e}: take a smaller image, or measures=[attention,field,bias]"
        )


def _attention(found: Inspection, model: nn.Module, images: Tensor, done: Backward | None) -> None:
    found.maps = maps_in(found.kept, found.wanted.points, found.wanted.choice)


def _field(found: Inspection, model: nn.Module, images: Tensor, done: Backward | None) -> None:
    stages = [stage.index for stage in found.kept.stages if Choice.has(stage.index, found.wanted.choice.stages)]
    found.fields = fields_of(found.kept.backbone, images, found.wanted.points[:1], stages)


def _rollout(found: Inspection, model: nn.Module, images: Tensor, done: Backward | None) -> None:
    last = max(found.wanted.choice.stages or [len(found.kept.stages) - 1])
    asked: Sequence[Point | None] = [None, *found.wanted.points]
    found.rollout = rollout_in(found.kept, tuple(asked), last)


def _relevance(found: Inspection, model: nn.Module, images: Tensor, done: Backward | None) -> None:
    found.relevance = None if done is None else relevance_of(done)


def _statistics(found: Inspection, model: nn.Module, images: Tensor, done: Backward | None) -> None:
    found.statistics = statistics_in(found.kept, found.wanted.choice, done)


def _bias(found: Inspection, model: nn.Module, images: Tensor, done: Backward | None) -> None:
    found.tables = tables_in(found.kept, found.wanted.choice)
    if not found.tables:
        found.notes.append("The blocks that were looked at have no learned position bias.")


_MEASURED = {
    "attention": _attention,
    "field": _field,
    "rollout": _rollout,
    "relevance": _relevance,
    "statistics": _statistics,
    "bias": _bias,
}


def check_task(model: nn.Module) -> InspectsImages:
    """The task, where it prepares images and scores predictions for an inspection.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(model, InspectsImages):
        raise ConfigError(
            "inspect needs a task with inspected_image and inspected_score; this checkpoint has a "
            f"{type(model).__name__}"
        )
    return model
