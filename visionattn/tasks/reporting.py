"""What a task says about a validation beyond its metrics: figures of all samples together, pictures, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning import Callback


class Observer(Callback):
    """Watches validation. ``train`` asks it for pictures, ``evaluate`` for figures and files, on all processes.

    A task gives its own by a method ``observer()``; this one knows nothing and is what other tasks get.
    """

    @property
    def ids(self) -> list[str]:
        """Ids of the samples of the latest validation, of all processes."""
        return []

    def figures(self, data: Any) -> dict[str, float]:
        """Figures besides the logged metrics, for ``result.json``."""
        return {}

    def draw(self, folder: Path, data: Any) -> dict[str, Path]:
        """Writes pictures into a folder; caption -> file. Called on the first process only."""
        return {}

    def files(self, folder: Path) -> dict[str, Path]:
        """Writes what belongs beside ``result.json``; name -> file. Called on the first process only."""
        return {}


@runtime_checkable
class Observed(Protocol):
    """A task with an observer of its own."""

    def observer(self) -> Observer:
        """A fresh observer."""
        ...


def observer_of(task: Any) -> Observer:
    """The task's own observer, or one that says nothing."""
    return task.observer() if isinstance(task, Observed) else Observer()
