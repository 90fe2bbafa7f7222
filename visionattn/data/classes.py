"""Class information of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from visionattn.errors import DataError

_LISTED = 12
"""Classes that a message names."""


@dataclass(frozen=True)
class ClassInfo:
    """Names of classes, in label order, and what else a data set states about them. Checkpoints hold it.

    Attributes:
        names: one per class.
        ids: the data set's own number of each class (COCO's category ids).
        palette: color of each class as red, green and blue, 0 to 255.
        things: whether each class is a thing (countable) or stuff.
    """

    names: list[str] = field(default_factory=list)
    ids: list[int] | None = None
    palette: list[list[int]] | None = None
    things: list[bool] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain containers of what is known, for a checkpoint."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassInfo:
        """The inverse of :meth:`as_dict`; an empty mapping gives no names."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


def check_count(split: str, count: int, num_classes: int, what: str = "classes") -> None:
    """Compare the number of classes of a split with that of the configuration.

    Raises:
        DataError: they differ.
    """
    if count != num_classes:
        raise DataError(
            f"the {split} data have {count} {what}, but num_classes is {num_classes}: data.num_classes={count}, or "
            "auto, takes those of the data"
        )


def not_among(name: str, names: Sequence[str]) -> str:
    """What is wrong with the name of a class that the data set does not have, and how all are listed."""
    listed = [*names, name]
    short = len(listed) <= _LISTED and all(one.replace("_", "").isalnum() for one in listed)
    value = f"=[{','.join(listed)}]" if short else ""
    return (
        f"the class {name!r} is not among {', '.join(names[:_LISTED])}; correct the file or list all classes in "
        f"data.source.class_names{value}"
    )


def same_classes(split: str, names: Sequence[str], known: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Compare the class names of a split with those of (split, names) read before.

    Raises:
        DataError: they differ; the message names up to eight of them.
    """
    for other, before in known:
        if list(before) != list(names):
            differing = sorted(set(before) ^ set(names))[:8]
            raise DataError(f"the classes of {other} and {split} differ: {', '.join(differing) or 'in order'}")
