"""The data module for classification: a source of labelled pictures, its transforms, exact batches."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from visionattn.data.classes import ClassInfo
from visionattn.data.classification.transforms import IMAGENET_MEAN, IMAGENET_STD, EvalTransform, ImageSize, as_size
from visionattn.data.dataset import Collate, IndexedDataset, StreamDataset, Transform
from visionattn.data.loading import IndexedLoader, StreamLoader
from visionattn.data.normalize import Normalise
from visionattn.data.records import Records, Source, StreamRecords, check_labels, fingerprint
from visionattn.data.sampling import GlobalBatches
from visionattn.data.unreadable import UnreadableBudget
from visionattn.errors import ConfigError, DataError

_STAGES = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
    None: ("train", "val", "test"),
}


class ClassificationData(LightningDataModule):
    """Batches {"image": float (B, 3, H, W), "target": int64 (B,), "id": list[str], "unreadable": list[(id, reason)]}.

    What the loaders give holds 8-bit pictures and what is to be erased from them; `finish` (which Lightning calls once
    a batch is on the device) normalises.

    source: a `Source`, or, where `root` is given, a factory called as `source(root=root)`.
    image_size: one number or (height, width). batch_size: per process. eval_batch_size: for val and test, by default
    the same. seed: of order and augmentation. train_transform, eval_transform: factories called as
    `factory(image_size=, mean=, std=)`, e.g. partials of TrainTransform and EvalTransform; without the first, training
    pictures get the evaluation transform. unreadable_budget: the share of a split that may be unreadable.
    pin_memory: page-locked batches, where the machine has an accelerator. timeout: seconds to wait for the workers.

    Building it reads nothing; `setup` reads the splits a stage needs and raises DataError where the number of classes
    is not `num_classes`. The trainer must not replace the sampler (use_distributed_sampler=False). B can be 0 in
    evaluation, where a process has no sample left or none of a batch could be read.
    """

    in_chans = 3

    def __init__(
        self,
        source: Source | Callable[..., Source],
        num_classes: int,
        image_size: ImageSize = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        train_transform: Callable[..., Transform] | None = None,
        eval_transform: Callable[..., EvalTransform] | None = None,
        unreadable_budget: float = 0.001,
        pin_memory: bool = False,
        prefetch_factor: int = 2,
        timeout: float = 600.0,
        root: str | None = None,
    ) -> None:
        super().__init__()
        self.source = _build_source(source, root)
        self.num_classes = num_classes
        self.image_size = as_size(image_size)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.unreadable_budget = unreadable_budget
        pins = pin_memory and torch.accelerator.is_available()  # there is nothing to copy to otherwise
        self._loading: dict[str, Any] = {"num_workers": num_workers, "pin_memory": pins}
        self._loading |= {"prefetch_factor": prefetch_factor, "timeout": timeout}
        common: dict[str, Any] = {"image_size": self.image_size, "mean": tuple(mean), "std": tuple(std)}
        self.eval_transform = (eval_transform or EvalTransform)(**common)
        self.train_transform: Transform = train_transform(**common) if train_transform else self.eval_transform
        self.to_model_input = Normalise(mean, std)
        self._splits: dict[str, Records | StreamRecords] = {}
        self._budgets: dict[str, UnreadableBudget] = {}

    # -- what the data are ------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Reads the splits of a stage ("fit", "validate", "test", "predict", None for all) that are not read yet."""
        for split in _STAGES[stage]:
            self.records(split)

    def records(self, split: str) -> Records | StreamRecords:
        """One split's records, read and checked on first use."""
        if split not in self._splits:
            records = self.source.open(split)
            self._check(split, records)
            self._splits[split] = records
        return self._splits[split]

    def _check(self, split: str, records: Records | StreamRecords) -> None:
        names = records.class_names
        if names and len(names) != self.num_classes:
            raise DataError(f"the {split} data have {len(names)} classes, but num_classes is {self.num_classes}")
        if not isinstance(records, StreamRecords):
            check_labels(records.labels, self.num_classes, f"the {split} data")
        for other, known in self._splits.items():
            if known.class_names != names:
                differing = sorted(set(known.class_names) ^ set(names))[:8]
                raise DataError(f"the classes of {other} and {split} differ: {', '.join(differing) or 'in order'}")

    @property
    def class_names(self) -> list[str]:
        """In label order; the numbers as text where the source names none. Known after `setup`."""
        if not self._splits:
            raise DataError("class names are known only after setup()")
        names = next(iter(self._splits.values())).class_names
        return list(names) if names else [str(label) for label in range(self.num_classes)]

    @property
    def class_info(self) -> ClassInfo:
        """What is known of the classes. Known after `setup`."""
        return ClassInfo(names=self.class_names)

    @property
    def sizes(self) -> dict[str, int]:
        """Samples in each split read so far."""
        return {split: _size(records) for split, records in self._splits.items()}

    def fingerprint(self, split: str) -> str:
        """sha256 over the split's ordered ids and labels (and pixels of the digits; names and sizes of shards)."""
        records = self.records(split)
        if isinstance(records, StreamRecords):
            return records.fingerprint()
        return fingerprint(records)

    def budget(self, split: str) -> UnreadableBudget:
        """The split's count of unreadable images; the task adds each batch's `unreadable` to it."""
        if split not in self._budgets:
            self._budgets[split] = UnreadableBudget(self.unreadable_budget, _size(self.records(split)), split)
        return self._budgets[split]

    def describe_evaluation(self) -> dict[str, Any]:
        """How evaluation pictures are made: crop_pct, crop_mode, interpolation, size, mean, std."""
        return self.eval_transform.describe()

    # -- loaders ----------------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.to_model_input(batch)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", self.batch_size, self.train_transform)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", self.eval_batch_size, self.eval_transform)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", self.eval_batch_size, self.eval_transform)

    def _loader(self, split: str, batch_size: int, transform: Transform) -> DataLoader:
        records = self.records(split)
        training = split == "train"
        collate = Collate(self.image_size)
        if isinstance(records, StreamRecords):
            return self._stream_loader(records, batch_size, transform, collate)
        dataset = IndexedDataset(records, transform, self.seed, refill=training)
        batches = GlobalBatches(
            len(dataset),
            batch_size,
            rank=self._rank,
            world_size=self._world_size,
            seed=self.seed,
            shuffle=training and not self._overfitting,
            drop_last=training,
        )
        # Workers fetch ahead before Lightning announces the epoch of a resumed run; so the sampler starts with it.
        batches.set_epoch(self._epoch() if training else 0)
        return IndexedLoader(dataset, batches, collate, **self._loading)

    def _stream_loader(
        self, records: StreamRecords, batch_size: int, transform: Transform, collate: Collate
    ) -> DataLoader:
        rank, world_size = self._rank, self._world_size
        records.prepare(rank=rank, world_size=world_size, num_workers=self.num_workers, batch_size=batch_size)
        total = 0 if records.training else max(records.batches_per_rank(other) for other in range(world_size))
        make = SizedStreamDataset if records.training else StreamDataset
        dataset = make(records, transform, self.num_classes, self.seed)
        return StreamLoader(
            dataset, collate, self._epoch, total, batch_size=batch_size, drop_last=records.training, **self._loading
        )

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def _overfitting(self) -> bool:
        """Lightning's overfit_batches wants the same batches every epoch, and cannot switch our sampler itself."""
        return self.trainer is not None and bool(self.trainer.overfit_batches)  # type: ignore[attr-defined]

    def _epoch(self) -> int:
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]


def _build_source(source: Source | Callable[..., Source], root: str | None) -> Source:
    if root is None and hasattr(source, "open"):
        return source  # type: ignore[return-value]
    if root is not None and callable(source):
        return source(root=root)
    wanted = "a finished source" if root is None else "a factory (_partial_: true), since root is given"
    raise ConfigError(f"source must be {wanted}, got {type(source).__name__}")


class SizedStreamDataset(StreamDataset):
    """A training stream, whose length timm fixes beforehand."""

    def __len__(self) -> int:
        return len(self.records)


def _size(records: Records | StreamRecords) -> int:
    return records.num_samples if isinstance(records, StreamRecords) else len(records.ids)
