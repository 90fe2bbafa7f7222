"""Whether the classes of a test set are those of the model, compared by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visionattn.errors import DataError, counted

_NAMED = 8  # names in a message


@dataclass(frozen=True)
class ClassMatch:
    """What comparing the names gave.

    Attributes:
        told: a few words for the user.
        order: the model's class of every class of the data; None: they have the same order.
    """

    told: str
    order: list[int] | None = None


def match_classes(model: Sequence[str], data: Sequence[str]) -> ClassMatch:
    """Compare the class names of a model with those of a data set.

    Args:
        model: of the checkpoint; none or numbers where it knows no names.
        data: of the data set, likewise.

    Raises:
        DataError: other classes; the message names the differing ones.
    """
    number = counted(len(data), "class", "classes")
    if list(model) == list(data):
        return ClassMatch(f"{number}, named as in the training")
    lacking = [owner for owner, names in (("the model", model), ("the data set", data)) if nameless(names)]
    if lacking and len(model) in (0, len(data)):
        return ClassMatch(f"{number}, compared by index alone: {' and '.join(lacking)} has no class names")
    if sorted(model) == sorted(data) and len(set(model)) == len(model):
        position = {name: index for index, name in enumerate(model)}
        order = [position[name] for name in data]
        moved = sum(index != label for label, index in enumerate(order))
        return ClassMatch(f"{number}, {moved} of them at another index than in the training: matched by name", order)
    raise DataError(_difference(model, data))


def nameless(names: Sequence[str]) -> bool:
    """Whether classes are only numbered."""
    return list(names) == [str(index) for index in range(len(names))]


def _difference(model: Sequence[str], data: Sequence[str]) -> str:
    missing = [name for name in model if name not in set(data)]
    added = [name for name in data if name not in set(model)]
    parts = [f"the model has {counted(len(model), 'class', 'classes')}, the data {len(data)}"]
    if missing:
        parts.append(f"only the model has {_listed(missing)}")
    if added:
        parts.append(f"only the data have {_listed(added)}")
    way = "; if they mean the same, match_classes=index compares them by their index" if len(model) == len(data) else ""
    return f"the classes of the model and of the data differ: {', '.join(parts)}{way}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
