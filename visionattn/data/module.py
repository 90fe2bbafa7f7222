"""The contract between data and everything that uses them: tasks, commands and export talk to :class:`VisionData`.

A data set with another kind of target derives from it and gives four hooks: ``check``, ``dataset``, ``collate`` and
``to_model_input``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, Unpack

from lightning import LightningDataModule
from rich.console import Console
from torch.utils.data import DataLoader

from visionattn.data.classes import ClassInfo
from visionattn.data.dataset import Batch, Collate, SampleDataset
from visionattn.data.decoding import Decoding
from visionattn.data.image_size import ImageSize, as_size
from visionattn.data.loading import IndexedLoader
from visionattn.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from visionattn.data.options import EvalTransform, LoadingOptions, at_least, decoding_of, loader_options, per_channel
from visionattn.data.records import Source, SplitRecords, StoredImages, build_source
from visionattn.data.sampling import GlobalBatches
from visionattn.data.survey import survey
from visionattn.data.unreadable import UnreadableBudget
from visionattn.errors import DataError

_STAGES: dict[str | None, tuple[str, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
    None: ("train", "val", "test"),
}


R = TypeVar("R", bound=SplitRecords)


class VisionData(LightningDataModule, ABC, Generic[R]):
    """Images with targets: splits, batches in an exact order, and a budget of unreadable images.

    Building it reads nothing. :meth:`setup` or :meth:`records` reads a split. Order and augmentation are functions of
    (seed, epoch, sample): they do not depend on the number of workers or processes, and a run that was cut off
    continues with the same batches. The trainer must not replace the sampler (``use_distributed_sampler=False``).

    The loaders give 8-bit images. Lightning calls :meth:`to_model_input` once a batch is on the device.

    A subclass gives four hooks: :meth:`check`, :meth:`dataset`, :meth:`collate` and :meth:`to_model_input`; and
    :attr:`class_info` where it knows more than names.

    Args:
        source: an object with ``open(split)``; where ``root`` is given, a factory called as ``source(root=root)``.
        num_classes: number of classes that the model distinguishes.
        image_size: one number or (height, width).
        mean: of every channel.
        std: of every channel.
        batch_size: samples per process.
        seed: of order and augmentation.
        train_transform: a factory called as ``factory(image_size=, mean=, std=)``; None: the evaluation transform.
        eval_transform: a factory called in the same way.
        unreadable_budget: share of a split that may be unreadable.
        root: folder of the data set; see ``source``.
        loading: ``eval_batch_size`` (as ``batch_size``), ``num_workers`` (0), ``pin_memory`` (False; only
            where there is an accelerator), ``prefetch_factor`` (2) and ``timeout`` (600 s); and how files become
            images: ``in_chans`` (3), ``value_range`` (None), ``exif`` (auto) and ``page`` (0), see
            :class:`visionattn.data.decoding.Decoding`.

    Raises:
        ConfigError: ``source`` is not what ``root`` asks for.

    Attributes:
        source: the data set.
        decoding: how files become images.
        in_chans: channels of the images.
        image_size: (height, width).
        train_transform: of training images.
        eval_transform: of all other images.
    """

    evaluation_split = "val"  # what validation reads; `visionattn evaluate split=test` names another one

    def __init__(
        self,
        source: Source[R] | Callable[..., Source[R]],
        num_classes: int,
        image_size: ImageSize,
        *,
        eval_transform: Callable[..., EvalTransform],
        train_transform: Callable[..., Callable[..., Any]] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        batch_size: int = 64,
        seed: int = 0,
        unreadable_budget: float = 0.001,
        root: str | None = None,
        **loading: Unpack[LoadingOptions],
    ) -> None:
        super().__init__()
        self.source = build_source(source, root)
        self.num_classes = num_classes
        self.image_size = as_size(image_size)
        self.decoding = decoding_of(loading)
        self.in_chans = self.decoding.channels
        self.mean, mean_note = per_channel(mean, self.in_chans, "mean")
        self.std, std_note = per_channel(std, self.in_chans, "std")
        self.batch_size = at_least(1, "batch_size", batch_size)
        self.eval_batch_size = loading.pop("eval_batch_size", None) or batch_size
        self.seed = seed
        self.unreadable_budget = unreadable_budget
        common: dict[str, Any] = {"image_size": self.image_size, "mean": self.mean, "std": self.std}
        self.eval_transform = eval_transform(**common)
        self.train_transform: Callable[..., Any] = train_transform(**common) if train_transform else self.eval_transform
        self._notes = [note for note in (mean_note, std_note, *getattr(self.train_transform, "notes", ())) if note]
        self._loading = loader_options(loading)
        self._splits: dict[str, R] = {}
        self._told: set[str] = set()
        self._budgets: dict[str, UnreadableBudget] = {}

    # -- what a column gives ----------------------------------------------------------------------------------------

    @abstractmethod
    def check(self, split: str, records: R) -> None:
        """Compare a split with ``num_classes`` and with the splits read before.

        Raises:
            DataError: it cannot be used.
        """

    @abstractmethod
    def dataset(self, records: R, transform: Callable[..., Any], training: bool) -> SampleDataset[Any]:
        """Samples of a split by (epoch, index)."""

    @abstractmethod
    def collate(self, training: bool) -> Collate:
        """The function from samples to a batch."""

    @abstractmethod
    def to_model_input(self, batch: Batch) -> Batch:
        """The batch as the model takes it: normalized floats. Called on the device."""

    def batches(self, records: R, training: bool, **options: Any) -> GlobalBatches:
        """The keys of every batch.

        Args:
            records: one split.
            training: for training.
            options: of :class:`GlobalBatches`, without the number of samples.
        """
        return GlobalBatches(self.count(records), **options)

    def count(self, records: R) -> int:
        """Samples of a split."""
        return len(self.dataset(records, self.eval_transform, False))

    # -- what the data are ------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Read the splits of a stage (``fit``, ``validate``, ``test``, ``predict``; None: all) that are not read."""
        for split in _STAGES[stage]:
            self.records(self.evaluation_split if split == "val" else split)

    def records(self, split: str) -> R:
        """One split's records, read and checked on first use."""
        if split not in self._splits:
            records = self.open(split)
            self.check(split, records)
            if not self.count(records):
                raise DataError(": ".join([f"the {split} data have no image", *getattr(records, "told", ())]))
            self._look(split, records)
            self._splits[split] = records
        return self._splits[split]

    def _look(self, split: str, records: R) -> None:
        """Look at some images: refuse what the decoding would spoil, tell what it changes."""
        self.tell()
        if isinstance(records, StoredImages):
            found = survey(records.image_bytes, self.count(records))
            found.check(records.decoding, f"the {split} images")
            self.tell(*(f"{split}: {sentence}" for sentence in found.told(records.decoding)))

    def open(self, split: str) -> R:
        """One split's records, not checked, to be read as the data module states it."""
        records = self.source.open(split)
        records.decoding = self.decoding_for(records)
        return records

    def decoding_for(self, records: R) -> Decoding:
        """How the files of a split become images."""
        return self.decoding

    def tell(self, *notes: str) -> None:
        """Print sentences about the data, each once, on the first process."""
        for note in [*self._notes, *notes]:
            if note not in self._told and self._rank == 0:
                Console(stderr=True).print(note, highlight=False, markup=False, soft_wrap=True)
            self._told.add(note)

    def known_records(self) -> R:
        """Records of any split that is read.

        Raises:
            DataError: none is.
        """
        if not self._splits:
            raise DataError("the classes are known only after setup()")
        return next(iter(self._splits.values()))

    @property
    def class_names(self) -> list[str]:
        """Names in label order; the numbers as text where the source has none. Known after :meth:`setup`."""
        return list(self.known_records().class_names) or [str(label) for label in range(self.num_classes)]

    @property
    def class_info(self) -> ClassInfo:
        """What is known of the classes. Known after :meth:`setup`."""
        return ClassInfo(names=self.class_names)

    @property
    def num_workers(self) -> int:
        """Processes that read, for each process that trains; 0: the training process reads."""
        return int(self._loading["num_workers"])

    @property
    def sizes(self) -> dict[str, int]:
        """Samples in each split read so far."""
        return {split: self.count(records) for split, records in self._splits.items()}

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """sha256 that identifies a split."""

    def budget(self, split: str) -> UnreadableBudget:
        """The split's count of unreadable images; the task adds the ``unreadable`` of each batch to it."""
        if split not in self._budgets:
            self._budgets[split] = UnreadableBudget(self.unreadable_budget, self.count(self.records(split)), split)
        return self._budgets[split]

    def describe_evaluation(self) -> dict[str, Any]:
        """How evaluation images are made, for result files."""
        return self.eval_transform.describe()

    # -- loaders ----------------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Lightning's hook on the device."""
        return self.to_model_input(batch)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches of ``train``."""
        return self._loader("train", self.batch_size, training=True)

    def val_dataloader(self) -> DataLoader:
        """Batches of ``val``, or of :attr:`evaluation_split`, in order."""
        return self._loader(self.evaluation_split, self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        """Batches of ``test``, in order."""
        return self._loader("test", self.eval_batch_size)

    def _loader(self, split: str, batch_size: int, training: bool = False) -> DataLoader:
        records = self.records(split)
        transform = self.train_transform if training else self.eval_transform
        batches = self.batches(
            records,
            training,
            batch_size=batch_size,
            rank=self._rank,
            world_size=self._world_size,
            seed=self.seed,
            shuffle=training and not self._overfitting,
            drop_last=training,
        )
        # Workers fetch ahead before Lightning announces the epoch of a resumed run; so the sampler starts with it.
        batches.set_epoch(self._epoch() if training else 0)
        dataset = self.dataset(records, transform, training)
        return IndexedLoader(dataset, batches, self.collate(training), **self._loading)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def _overfitting(self) -> bool:
        """Lightning's overfit_batches wants the same batches every epoch, and cannot switch our sampler itself."""
        return bool(getattr(self.trainer, "overfit_batches", 0))

    def _epoch(self) -> int:
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
