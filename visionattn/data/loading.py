"""Data loaders: exact batches for indexed records, timm's sharding for streams."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from visionattn.data.dataset import Collate, IndexedDataset, Sample, StreamDataset
from visionattn.data.sampling import GlobalBatches


def indexed_loader(dataset: IndexedDataset, batches: GlobalBatches, collate: Collate, **options: Any) -> DataLoader:
    """A loader over exactly `batches`. Its own generator keeps the main process' random state untouched."""
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, generator=_generator(batches.seed), **_workers(options)
    )


class StreamLoader(DataLoader[Sample]):
    """A loader over a stream; tells it the epoch when iteration starts.

    In evaluation, where processes may own different numbers of shards, it adds empty batches until all processes
    have made equally many, because a collective call per batch would hang otherwise.
    """

    def __init__(
        self, dataset: StreamDataset, collate: Collate, epoch: Callable[[], int], total: int, **options: Any
    ) -> None:
        super().__init__(dataset, collate_fn=collate, generator=_generator(dataset.seed), **_workers(options))
        self._current_epoch = epoch
        self._total = total

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        assert isinstance(self.dataset, StreamDataset)
        self.dataset.set_epoch(self._current_epoch())
        made = 0
        for batch in super().__iter__():
            made += 1
            yield batch
        for _ in range(made, self._total):
            assert self.collate_fn is not None
            yield self.collate_fn([])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _workers(options: dict[str, Any]) -> dict[str, Any]:
    """torch refuses worker options where there are no workers."""
    if options.get("num_workers", 0) > 0:
        return {**options, "persistent_workers": True}
    return {key: value for key, value in options.items() if key != "prefetch_factor"}
