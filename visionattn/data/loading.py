"""Data loaders: exact batches for indexed records, timm's sharding for streams; both go on where a run was cut off.

A position in an epoch is the number of batches given so far. Order and augmentation are functions of (seed, epoch,
sample) alone, so a position is all the state there is, and it holds for any number of workers.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from visionattn.data.dataset import Collate, IndexedDataset, Sample, StreamDataset
from visionattn.data.sampling import GlobalBatches, SampleKey
from visionattn.errors import CheckpointError, DataError


class IndexedLoader(DataLoader[Sample]):
    """A loader over exactly the batches of its :class:`GlobalBatches`. Its own generator keeps the main process' random
    state untouched.

    options: of torch's DataLoader. timeout: seconds to wait for a batch of the workers before a :class:`DataError` says
    which samples they are at; 0: forever. Without workers nobody is there to notice.
    """

    def __init__(
        self,
        dataset: IndexedDataset,
        batches: GlobalBatches,
        collate: Collate,
        timeout: float = 600.0,
        **options: Any,
    ) -> None:
        generator = _generator(batches.seed)
        self._watched = None
        if options.get("num_workers", 0) > 0:
            self._watched = Watched(dataset, options["num_workers"])
            options["timeout"] = timeout
        watched = dataset if self._watched is None else self._watched
        super().__init__(watched, batch_sampler=batches, collate_fn=collate, generator=generator, **_workers(options))
        self._batches = batches
        self._at = (batches.epoch, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch, given = self._batches.epoch, self._batches.start
        self._at = (epoch, given)
        iterator = super().__iter__()
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                raise self._explained(error) from error
            given += 1
            self._at = (epoch, given)
            yield batch

    def _explained(self, error: RuntimeError) -> Exception:
        """A DataError with the samples at hand where the workers hang or have died; else the error itself."""
        text = str(error)
        if self._watched is None or not ("timed out" in text or "exited unexpectedly" in text or "is killed" in text):
            return error
        what = f"no batch came in {self.timeout:g} s (data.timeout)" if "timed out" in text else text.splitlines()[0]
        return DataError(f"the workers that read the data hang or died: {what}. {self._watched.report()}")

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands, and what a batch number means."""
        epoch, given = self._at
        return {"epoch": epoch, "batch": given, **self._meaning()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration goes on behind the last batch that was given.

        Raises:
            CheckpointError: the images of a batch over all processes, the data or the seed are not those of the state.
        """
        _check_meaning(state, self._meaning())
        self._batches.resume(state["epoch"], state["batch"])

    def _meaning(self) -> dict[str, int]:
        batches = self._batches
        return {
            "images": batches.batch_size * batches.world_size,
            "samples": batches.num_samples,
            "seed": batches.seed,
        }


_NAMES = {
    "images": "number of images per batch over all processes (data.batch_size times processes)",
    "samples": "number of training images",
    "seed": "data.seed",
    "per_process": "number of images per batch and process (data.batch_size)",
    "workers": "number of workers (data.num_workers)",
    "share": "number of images of one process (which follows from the number of processes)",
}


class Watched(Dataset[Sample]):
    """A data set whose workers note what they are reading, in memory that the main process sees."""

    def __init__(self, dataset: IndexedDataset, num_workers: int) -> None:
        self.dataset = dataset
        self._now = torch.full((num_workers,), -1, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample:
        worker = get_worker_info()
        if worker is None:
            return self.dataset[key]
        self._now[worker.id] = key[1]
        sample = self.dataset[key]
        self._now[worker.id] = -1
        return sample

    def report(self) -> str:
        """Which sample each worker is at."""
        places = [
            f"worker {worker}: {self.dataset.records.ids[index]}" if index >= 0 else f"worker {worker}: none"
            for worker, index in enumerate(self._now.tolist())
        ]
        return f"At hand: {'; '.join(places)}"


class StreamLoader(DataLoader[Sample]):
    """A loader over a stream; tells it the epoch when iteration starts.

    In evaluation, where processes may own different numbers of shards, it adds empty batches until all processes
    have made equally many, because a collective call per batch would hang otherwise.

    A stream cannot be entered in its middle: a resumed epoch is read again from its start and what was given already is
    dropped. That is exact for the same number of workers and processes; others are refused.
    """

    def __init__(
        self, dataset: StreamDataset, collate: Collate, epoch: Callable[[], int], total: int, **options: Any
    ) -> None:
        super().__init__(dataset, collate_fn=collate, generator=_generator(dataset.seed), **_workers(options))
        self._current_epoch = epoch
        self._total = total
        self._at = self._resumed = (0, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        assert isinstance(self.dataset, StreamDataset)
        epoch = self._current_epoch()
        self.dataset.set_epoch(epoch)
        dropped = self._resumed[1] if self._resumed[0] == epoch else 0
        made = 0
        for batch in super().__iter__():
            made += 1
            self._at = (epoch, made)
            if made > dropped:
                yield batch
        for _ in range(made, self._total):
            assert self.collate_fn is not None
            yield self.collate_fn([])

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands, and what a batch number means."""
        return {"epoch": self._at[0], "batch": self._at[1], **self._meaning()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration of that epoch goes on behind the last batch that was given.

        Raises:
            CheckpointError: the stream is not divided as it was.
        """
        _check_meaning(state, self._meaning())
        self._resumed = (state["epoch"], state["batch"])

    def _meaning(self) -> dict[str, int]:
        sized: Any = self.dataset
        return {"per_process": int(self.batch_size or 0), "workers": self.num_workers, "share": len(sized)}


def _check_meaning(state: dict[str, int], meaning: dict[str, int]) -> None:
    for name, now in meaning.items():
        if state.get(name) != now:
            raise CheckpointError(
                f"the checkpoint lies inside an epoch whose {_NAMES[name]} was {state.get(name)}; now it is {now}. "
                "Its batches would not be the same ones. Resume with the same number"
            )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _workers(options: dict[str, Any]) -> dict[str, Any]:
    """torch refuses worker options where there are no workers."""
    if options.get("num_workers", 0) > 0:
        return {**options, "persistent_workers": True}
    return {key: value for key, value in options.items() if key not in ("prefetch_factor", "timeout")}
