"""What is reported of a validation beyond its metrics: figures of all samples together, drawings, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning import Callback, LightningModule, Trainer

from visionattn.drawing.canvas import sheet_of, with_legend
from visionattn.reports import Samples, Section
from visionattn.tasks.pictures import EDGE, Tile, undrawn_explained, warn_undrawn
from visionattn.tasks.ranked import Ranked
from visionattn.training.distributed import gather, gather_to_first
from visionattn.training.step import StepOutput
from visionattn.training.task import data_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

SHOWN = 12
"""Images on a sheet."""
PLOTS, FIRST_BATCH = "plots", "first_batch.png"
"""The folder for drawings inside a run's folder, and the sheet of the first training batch in it."""


class Observer(Callback):
    """A watcher of a run. ``train`` asks it for drawings, ``evaluate`` for drawings, figures and files.

    It draws the first training batch as soon as the first step is done. A task gives its own by a method
    ``observer()``; others get this one, which keeps the ids of the samples of a validation.

    Attributes:
        ids: ids of the samples of the latest validation, of all processes.
        ranked: its worst and best samples; those of all processes on the first one.
        ranked_by: what makes a sample good or bad, for the report.
        noun: what a data set has labels of.
    """

    ranked_by = ""
    noun = "images"

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.ranked = Ranked()
        self._begun = False

    def keep(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        """Keep something of a batch."""

    def rank(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        """Offer the samples of a batch to :attr:`ranked`."""

    def unite(self, trainer: Trainer) -> None:
        """Unite what the processes kept; called on all of them."""

    def tiles(self, batch: Any, data: VisionData, count: int) -> list[Tile]:
        """Return the first images of a training batch with their targets drawn on them; none: no sheet is made."""
        return []

    def legend(self, batch: Any, data: VisionData, count: int) -> list[tuple[str, list[int]]]:
        """Return names and colors of the classes on these images, where the images do not name them."""
        return []

    def figures(self, data: VisionData) -> dict[str, float]:
        """Return figures besides the logged metrics, for ``result.json``."""
        return {}

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write drawings into a folder and return caption -> file. Called on the first process only."""
        return {}

    def sections(self, data: VisionData) -> list[Section]:
        """Return what a report tells of the latest validation. Called on the first process only."""
        worst = self.ranked.worst
        best = [sample for sample in self.ranked.best if not any(sample is other for other in worst)]
        sides = (("Worst samples", worst, self.ranked_by), ("Best samples", best, ""))
        return [Samples(title, samples, note) for title, samples, note in sides if samples]

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write what belongs beside ``result.json`` and return name -> file. Called on the first process only."""
        return {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._begun and trainer.is_global_zero and batch["id"]:
            folder = Path(trainer.default_root_dir) / PLOTS
            if not (folder / FIRST_BATCH).exists():  # a resumed run has drawn it
                self._draw_batch(batch, data_of(trainer), folder)
        self._begun = True

    def _draw_batch(self, batch: Any, data: VisionData, folder: Path) -> None:
        tiles = self.tiles(batch, data, SHOWN)
        if not tiles:
            return
        sheet = sheet_of(tiles, columns=4, edge=EDGE, title="the first training batch, as the model sees it")
        sheet = with_legend(sheet, self.legend(batch, data, SHOWN), pixels=18)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sheet.save(folder / FIRST_BATCH)
        except OSError as error:
            warn_undrawn(folder, error)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ids, self.ranked = [], Ranked()

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
            with undrawn_explained("samples are ranked for the report"):
                self.rank(trainer, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shards = gather_to_first(self.ranked)
        self.ranked = self.ranked if shards is None else Ranked.united(shards)
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


def drawn(observer: Observer, folder: Path, data: VisionData) -> dict[str, Path]:
    """Make the drawings of an observer; where they cannot be written there are none, and one line says so.

    Returns:
        Caption -> file, of the first training batch too if it lies there.
    """
    first = {"first training batch": folder / FIRST_BATCH} if (folder / FIRST_BATCH).is_file() else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return first | observer.draw(folder, data)
    except OSError as error:
        warn_undrawn(folder, error)
        return first
