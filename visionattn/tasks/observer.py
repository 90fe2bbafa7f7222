"""What is reported of a validation beyond its metrics: figures of all samples together, drawings, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning import Callback, LightningModule, Trainer

from visionattn.training.distributed import gather
from visionattn.training.task import StepOutput

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

SHOWN = 12
"""Images on a sheet."""


class Observer(Callback):
    """A watcher of validation. ``train`` asks it for drawings, ``evaluate`` for figures and files, on all processes.

    A task gives its own by a method ``observer()``; others get this one, which keeps the ids of the samples.

    Attributes:
        ids: ids of the samples of the latest validation, of all processes.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []

    def keep(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        """Keep something of a batch."""

    def unite(self, trainer: Trainer) -> None:
        """Unite what the processes kept; called on all of them."""

    def figures(self, data: VisionData) -> dict[str, float]:
        """Return figures besides the logged metrics, for ``result.json``."""
        return {}

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write drawings into a folder and return caption -> file. Called on the first process only."""
        return {}

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write what belongs beside ``result.json`` and return name -> file. Called on the first process only."""
        return {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ids = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if isinstance(outputs, StepOutput):
            self.ids += batch["id"]
            self.keep(trainer, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ids = [name for ids in gather(self.ids) for name in ids]
        self.unite(trainer)


class SampleObserver(Observer):
    """An observer that keeps something of the first samples in the order of their ids.

    The samples are the same on any number of processes. A subclass says by :meth:`sample` what it keeps of a sample,
    and by :meth:`limit` of how many.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}

    def sample(self, output: StepOutput, batch: Any, index: int, trainer: Trainer) -> Any:
        """Return what is kept of the sample at an index of a batch."""
        raise NotImplementedError

    def limit(self, trainer: Trainer) -> int | None:
        """Return of how many samples something is kept; None: of all."""
        return SHOWN

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self.kept = {}

    def keep(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        limit = self.limit(trainer)
        for index, name in enumerate(batch["id"]):
            if limit is None or len(self.kept) < limit or name < max(self.kept):
                self.kept[name] = self.sample(output, batch, index, trainer)
        self.kept = _first(self.kept, limit)

    def unite(self, trainer: Trainer) -> None:
        united = {name: kept for shard in gather(self.kept) for name, kept in shard.items()}
        self.kept = _first(united, self.limit(trainer))


def _first(kept: dict[str, Any], limit: int | None) -> dict[str, Any]:
    return {name: kept[name] for name in sorted(kept)[:limit]}


@runtime_checkable
class Observed(Protocol):
    """A task with an observer of its own."""

    def observer(self) -> Observer:
        """Return a fresh observer."""
        ...


def observer_of(task: Any) -> Observer:
    """The task's own observer, or one that keeps the ids alone."""
    return task.observer() if isinstance(task, Observed) else Observer()
