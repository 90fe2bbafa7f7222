"""Streams of labeled images: records that can only be read in order, as shards are, and their loader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Unpack

import torch
from torch.utils.data import IterableDataset

from visionattn.data.classification.dataset import Transform, augmented, decoder_of
from visionattn.data.dataset import Collate, Sample
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.loading import LoaderOptions, SignalSafeLoader, check_meaning, generator_of, worker_options
from visionattn.data.seeding import SampleRandomState
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord
from visionattn.errors import DataError


class StreamRecords(ABC):
    """One split that can only be read in order, its shards divided among processes and workers."""

    decoding: Decoding = AS_STORED
    class_names: list[str]
    num_samples: int
    training: bool

    @abstractmethod
    def prepare(self, *, rank: int, world_size: int, num_workers: int, batch_size: int) -> None:
        """Divide the reading among processes and workers; called before each loader is made."""

    @abstractmethod
    def set_epoch(self, epoch: int) -> None:
        """Start an epoch; called before :meth:`read`."""

    @abstractmethod
    def read(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (id, label, file content) of this worker's shards."""

    @abstractmethod
    def batches_per_rank(self, rank: int) -> int:
        """Evaluation batches that process ``rank`` will make, 0 where that is unknown."""

    @abstractmethod
    def __len__(self) -> int:
        """Training samples of this process in one epoch."""

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 that identifies the split, hexadecimal."""


class StreamDataset(IterableDataset[Sample]):
    """Records that come in order. Augmentation is drawn from (seed, epoch, sample id)."""

    def __init__(self, records: StreamRecords, transform: Transform, num_classes: int, seed: int = 0) -> None:
        self.records = records
        self.transform = transform
        self.num_classes = num_classes
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers live longer than an epoch

    @property
    def epoch(self) -> int:
        """Number of the epoch that is read."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch."""
        self._epoch.fill_(epoch)
        self.records.set_epoch(epoch)

    def __iter__(self) -> Iterator[Sample]:
        unreadable: list[UnreadableRecord] = []
        for sample_id, label, data in self.records.read():
            if not 0 <= label < self.num_classes:
                raise DataError(f"{sample_id} has label {label}, expected 0..{self.num_classes - 1} (num_classes)")
            try:
                image = self.records.decoding(data, base=decoder_of(self.transform))
            except UnreadableImage as error:
                unreadable.append((sample_id, str(error)))
                continue
            with SampleRandomState(self.seed, self.epoch, sample_id):
                sample = augmented(self.transform, image, label, sample_id)
            sample.unreadable = unreadable
            yield sample
            unreadable = []
        if unreadable:
            yield Sample(None, None, unreadable[0][0], unreadable)


class SizedStreamDataset(StreamDataset):
    """A training stream, whose length is known beforehand."""

    def __len__(self) -> int:
        return len(self.records)


class StreamLoader(SignalSafeLoader):
    """A loader over a stream; it tells the stream the epoch when iteration starts.

    In evaluation processes may own different numbers of shards. The loader then adds empty batches until all processes
    have made equally many, because a collective call per batch would hang otherwise.

    A stream cannot be entered in the middle. A resumed epoch is read again from its start, and the batches that were
    given already are dropped. The result is exact for the same number of workers and processes; others are refused.

    Args:
        dataset: the stream.
        collate: samples to a batch.
        epoch: returns the number of the epoch that starts.
        total: batches of an evaluation, over which empty ones are added.
        batch_size: samples per batch.
        options: of torch's DataLoader.
    """

    def __init__(
        self,
        dataset: StreamDataset,
        collate: Collate,
        epoch: Callable[[], int],
        total: int,
        batch_size: int,
        **options: Unpack[LoaderOptions],
    ) -> None:
        super().__init__(
            dataset,
            collate_fn=collate,
            generator=generator_of(dataset.seed),
            batch_size=batch_size,
            drop_last=dataset.records.training,
            **worker_options(options),
        )
        self._stream, self._collate = dataset, collate
        self._current_epoch = epoch
        self._total = total
        self._at = self._resumed = (0, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch = self._current_epoch()
        self._stream.set_epoch(epoch)
        dropped = self._resumed[1] if self._resumed[0] == epoch else 0
        made = 0
        for batch in super().__iter__():
            made += 1
            self._at = (epoch, made)
            if made > dropped:
                yield batch
        for _ in range(made, self._total):
            yield self._collate([])

    def state_dict(self) -> dict[str, int]:
        """The position of the iteration, and what a batch number means."""
        return {"epoch": self._at[0], "batch": self._at[1], **self._meaning()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue the epoch of a state behind the last batch that was given.

        Raises:
            CheckpointError: the stream is divided in another way.
        """
        check_meaning(state, self._meaning())
        self._resumed = (state["epoch"], state["batch"])

    def _meaning(self) -> dict[str, int]:
        return {
            "per_process": int(self.batch_size or 0),
            "workers": self.num_workers,
            "share": len(self._stream.records),
        }
