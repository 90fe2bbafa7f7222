"""What became of weights that were put into a model, name by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from visionattn.errors import counted

_LISTED = 12  # names of one kind


@dataclass
class Report:
    """What became of the entries of a checkpoint.

    Attributes:
        title: the naming they had.
        taken: names of the model that got their values.
        resized: those among them whose tables had another size: the old shape and the new one.
        left_out: entries of the checkpoint that the model has no part for.
        fresh: names of the model that keep the values they started with.
        different: what the model that the weights were trained in computes otherwise, where that is known.
        averaged: what held averaged weights in the checkpoint, which were taken instead of others in it; else empty.
    """

    title: str
    taken: list[str] = field(default_factory=list)
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    averaged: str = ""

    def summary(self) -> str:
        """One line of counts."""
        parts = [f"{counted(len(self.taken), 'tensor')} loaded"]
        parts += [f"{len(names)} {word}" for word, names in self._others() if names]
        averaged = f"; averaged weights: {self.averaged}" if self.averaged else ""
        return f"{', '.join(parts)} (names: {self.title}{averaged})"

    def beside(self, averaged: str, left_out: Sequence[str]) -> Report:
        """The same with what lay beside the weights in their checkpoint, see :class:`visionattn.weights.unwrap`."""
        self.averaged, self.left_out = averaged or self.averaged, [*self.left_out, *left_out]
        return self

    def lines(self) -> Iterator[str]:
        """What was not simply taken, with what became of it: every name, or the parts of the model if many are."""
        for name, (old, new) in self.resized.items():
            yield f"resized: {name} {old} -> {new}"
        for word, names in self._others()[1:]:
            if len(names) <= _LISTED:
                yield from (f"{word}: {name}" for name in names)
                continue
            parts = Counter(".".join(name.split(".")[:2]) for name in names)
            yield from (f"{word}: {part}, {count} tensors" for part, count in parts.items())

    def _others(self) -> list[tuple[str, list[str]]]:
        return [("resized", list(self.resized)), ("left out", self.left_out), ("fresh", self.fresh)]


def removed_parts(model: nn.Module) -> tuple[str, ...]:
    """The parts of a backbone or a head that it was built without, and whose weights are left out."""
    declared = getattr(model, "removed_parts", None)
    return tuple(declared()) if declared is not None else ()


@runtime_checkable
class TakesWeights(Protocol):
    """A backbone that reads its own names, because no table of a family is for it."""

    def take_weights(self, state: Mapping[str, Tensor]) -> Report:
        """Load a state dict; raises CheckpointError where it does not fit."""
        ...

    def classes_in(self, state: Mapping[str, Tensor]) -> int | None:
        """Width of the classifier in a state dict; None: there is none."""
        ...

    def classifier_in(self, state: Mapping[str, Tensor]) -> Mapping[str, str]:
        """``weight`` and ``bias`` of the linear layer that makes the logits -> their names there; none: no such."""
        ...
