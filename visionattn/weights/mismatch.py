"""What of a checkpoint does not fit a model: the few that tell most, and the whole list for who asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from torch import Tensor

from visionattn.errors import CheckpointError, counted, near_names

SHOWN = 3
"""Entries that the sentence names."""


@dataclass
class Mismatch:
    """Entries of a checkpoint and names of a model that do not belong together.

    Attributes:
        owner: what is to take the weights, for messages.
        faults: entries of another shape or with values of no use, as sentences.
        missing: names that the checkpoint has no entry for.
        unknown: entry of the checkpoint that the model has no name for -> what it would be called; its own name where
            nothing is known of it.
    """

    owner: str = "the model"
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)

    def add_shapes(self, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], origin: Mapping[str, str]) -> None:
        """Add the tensors of another shape.

        Args:
            state: under the model's names.
            wanted: the model's own.
            origin: name of the model -> name in the checkpoint.
        """
        self.faults += [
            f"{origin.get(name, name)} has shape {tuple(state[name].shape)}, {self.owner} needs {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in state and state[name].shape != tensor.shape
        ]

    def __add__(self, other: Mismatch) -> Mismatch:
        faults, missing = self.faults + other.faults, self.missing + other.missing
        return Mismatch(self.owner, faults, missing, self.unknown | other.unknown)

    def check(self, what: str) -> None:
        """Make sure that all fits.

        Args:
            what: whose the entries are, as ``of the checkpoint``.

        Raises:
            CheckpointError: counts what does not and names a few, what is nearly right first; ``details`` names all.
        """
        listed = [*self.faults, *(f"missing: {name}" for name in self.missing), *map(self._absent, self.unknown)]
        if not listed:
            return
        shown = [*self.faults[:SHOWN], *_in_turn(self._near(), [self._absent(name) for name in self.unknown])][:SHOWN]
        counts = {"missing": len(self.missing), f"not in {self.owner}": len(self.unknown), "unusable": len(self.faults)}
        told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
        rest = f"; HYDRA_FULL_ERROR=1 lists all {len(listed):,}" if len(listed) > len(shown) else ""
        entries = f"{counted(len(listed), 'entry', 'entries')} {what} {'does' if len(listed) == 1 else 'do'} not fit"
        error = CheckpointError(f"{entries} {self.owner} ({told}): {'; '.join(shown)}{rest}")
        error.details = listed
        raise error

    def _absent(self, name: str) -> str:
        ours = self.unknown[name]
        return f"not in {self.owner}: {name}" + (f" (which would be {ours})" if ours != name else "")

    def _near(self) -> list[str]:
        """A few of the missing names, those first that are nearly an entry that there is."""
        found = {name: near_names(name, self.unknown) for name in self.missing[: 2 * SHOWN]}
        told = [f"missing: {name} (nearest: {close[0]})" for name, close in found.items() if close]
        return told + [f"missing: {name}" for name, close in found.items() if not close]


def mismatch_of(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], owner: str) -> Mismatch:
    """What does not fit where both have the same names."""
    unknown = {name: name for name in state if name not in wanted}
    found = Mismatch(owner, missing=[name for name in wanted if name not in state], unknown=unknown)
    found.add_shapes(state, wanted, {})
    return found


def _in_turn(*lists: Sequence[str]) -> Iterator[str]:
    return (one for together in zip_longest(*lists) for one in together if one is not None)
