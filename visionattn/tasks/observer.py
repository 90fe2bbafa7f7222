"""What a task says about a validation beyond its metrics: figures of all samples together, pictures, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning import Callback, LightningModule, Trainer

from visionattn.training.nonfinite import gather
from visionattn.training.task import StepOutput

SHOWN = 12
"""Pictures on a sheet."""


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


class KeepingObserver(Observer):
    """Keeps the ids of a validation and something of its first samples in the order of their ids, the same on any
    number of processes. What it keeps of a sample, and of how many, are :meth:`part` and :meth:`limit`.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self.kept: dict[str, Any] = {}

    def part(self, outputs: StepOutput, batch: Any, place: int) -> Any:
        """What is kept of the sample at a place of a batch."""
        raise NotImplementedError

    def limit(self, trainer: Trainer) -> int | None:
        """Of how many samples something is kept; None: of all."""
        return SHOWN

    @property
    def ids(self) -> list[str]:
        return self._ids

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ids, self.kept = [], {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(outputs, StepOutput):
            return
        self._ids += batch["id"]
        limit = self.limit(trainer)
        for place, name in enumerate(batch["id"]):
            if limit is None or len(self.kept) < limit or name < max(self.kept):
                self.kept[name] = self.part(outputs, batch, place)
        self.kept = _first(self.kept, limit)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts = gather((self._ids, self.kept))
        self._ids = [name for ids, _ in parts for name in ids]
        self.kept = _first({name: kept for _, part in parts for name, kept in part.items()}, self.limit(trainer))


def _first(kept: dict[str, Any], limit: int | None) -> dict[str, Any]:
    return {name: kept[name] for name in sorted(kept)[:limit]}


@runtime_checkable
class Observed(Protocol):
    """A task with an observer of its own."""

    def observer(self) -> Observer:
        """A fresh observer."""
        ...


def observer_of(task: Any) -> Observer:
    """The task's own observer, or one that says nothing."""
    return task.observer() if isinstance(task, Observed) else Observer()
