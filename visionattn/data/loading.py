"""Data loaders that give exact batches and continue where a run was cut off.

A position in an epoch is the number of batches given so far. Order and augmentation are functions of (seed, epoch,
sample) alone. So the position is the whole state, and it holds for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict, Unpack

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from visionattn.data.dataset import Collate, Sample, SampleDataset
from visionattn.data.sampling import GlobalBatches, SampleKey
from visionattn.data.worker_signals import obey_main_process, workers_outlast_signals
from visionattn.errors import CheckpointError, DataError


class LoaderOptions(TypedDict, total=False):
    """Options of a loader, by the names of torch's DataLoader.

    Attributes:
        num_workers: processes that read; 0: the main process reads.
        pin_memory: page-locked batches.
        prefetch_factor: batches that each worker prepares ahead.
        timeout: seconds to wait for a batch of the workers; 0: forever.
    """

    num_workers: int
    pin_memory: bool
    prefetch_factor: int
    timeout: float


class SignalSafeLoader(DataLoader[Sample]):
    """A loader whose workers outlive signals to the process group; see :mod:`visionattn.data.worker_signals`."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        with workers_outlast_signals():
            return super().__iter__()


class IndexedLoader(SignalSafeLoader):
    """A loader over exactly the batches of its :class:`GlobalBatches`.

    It has a generator of its own, so the random state of the main process is not touched. A :class:`DataError` names
    the samples that the workers are reading, where no batch comes within ``timeout`` seconds or a worker dies.

    Args:
        dataset: samples by (epoch, index).
        batches: the keys of every batch.
        collate: samples to a batch.
        options: of torch's DataLoader.
    """

    def __init__(
        self,
        dataset: SampleDataset[Any],
        batches: GlobalBatches,
        collate: Collate,
        **options: Unpack[LoaderOptions],
    ) -> None:
        workers = options.get("num_workers", 0)
        self._watched = Watched(dataset, workers) if workers > 0 else None
        super().__init__(
            dataset if self._watched is None else self._watched,
            batch_sampler=batches,
            collate_fn=collate,
            generator=generator_of(batches.seed),
            **worker_options(options),
        )
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
        """A DataError with the samples in work where the workers hang or have died; else the error itself."""
        text = str(error)
        if self._watched is None or not ("timed out" in text or "exited unexpectedly" in text or "is killed" in text):
            return error
        what = f"no batch came in {self.timeout:g} s (data.timeout)" if "timed out" in text else text.splitlines()[0]
        return DataError(f"a data worker hung or died: {what}. {self._watched.report()}")

    def state_dict(self) -> dict[str, Any]:
        """The position of the iteration, and what a batch number means."""
        epoch, given = self._at
        return {"epoch": epoch, "batch": given, **self._batches.meaning()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue behind the last batch that was given.

        Raises:
            CheckpointError: the images of a batch over all processes, the data or the seed are not those of the state.
        """
        check_meaning(state, self._batches.meaning())
        self._batches.resume(state["epoch"], state["batch"])


_NAMES = {
    "images": "number of images per batch over all processes (data.batch_size times processes)",
    "samples": "number of training images",
    "seed": "data.seed",
    "repeats": "data.repeats (how often an image is shown in an epoch)",
    "sizes": "number of images of each size (data.multi_scale; nothing where all have one size)",
    "per_process": "number of images per batch and process (data.batch_size)",
    "workers": "number of workers (data.num_workers)",
    "share": "number of images of one process (which follows from the number of processes)",
}

_BEFORE = {"repeats": 1, "sizes": ""}
"""What older checkpoints do not say."""


class Watched(Dataset[Sample]):
    """A data set whose workers note what they are reading, in memory that the main process sees."""

    def __init__(self, dataset: SampleDataset[Any], num_workers: int) -> None:
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
        """The sample that each worker is reading."""
        samples = [
            f"worker {worker}: {self.dataset.records.ids[index]}" if index >= 0 else f"worker {worker}: none"
            for worker, index in enumerate(self._now.tolist())
        ]
        return f"In progress: {'; '.join(samples)}"


def check_meaning(state: dict[str, Any], meaning: dict[str, Any]) -> None:
    """Compare what a batch number meant in a checkpoint with what it means now.

    Raises:
        CheckpointError: a number differs.
    """
    for name, now in meaning.items():
        then = state.get(name, _BEFORE.get(name))
        if then != now:
            raise CheckpointError(
                f"the checkpoint was written inside an epoch where the {_NAMES[name]} was {then or 'none'}; now it is "
                f"{now or 'none'}, which would give other batches. Resume with the same number"
            )


def generator_of(seed: int) -> torch.Generator:
    """A generator that starts from ``seed``."""
    return torch.Generator().manual_seed(seed)


def worker_options(options: LoaderOptions) -> dict[str, Any]:
    """Options for torch, which refuses options of workers where there are none."""
    if options.get("num_workers", 0) > 0:
        return {"timeout": 600.0, **options, "persistent_workers": True, "worker_init_fn": obey_main_process}
    return {key: value for key, value in options.items() if key not in ("prefetch_factor", "timeout")}
