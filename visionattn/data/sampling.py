"""Exact batches: a pure function of seed, epoch and batch number, for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from visionattn.data.seeding import stable_seed
from visionattn.errors import DataError, counted

SampleKey = tuple[int, ...]
"""(epoch, index): all that a worker needs to draw the sample's augmentation.

Where images are repeated, the first number is ``epoch * repeats`` and the number of the copy, so that copies differ.
Batches that differ in more than their samples add what that is.
"""


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of 0..num_samples-1 for one epoch, int64 ``(num_samples,)``.

    numpy's legacy RandomState is used because its stream is the same in all versions of numpy.
    """
    return np.random.RandomState(stable_seed(seed, epoch, bits=32)).permutation(num_samples)


class GlobalBatches(Sampler[list[SampleKey]]):
    """Batches of (epoch, index) keys for one of ``world_size`` processes.

    The global batch t holds samples [t*g, (t+1)*g) of the epoch's order, g = batch_size * world_size. It is the same
    set for any division of g among processes. Rank r takes a contiguous slice of it.

        order   | global batch 0            | global batch 1            | rest
        ranks   | r0: batch_size | r1: ...  | r0: batch_size | r1: ...  | shared as evenly as it goes, perhaps empty

    Nothing is padded or repeated. Without ``drop_last`` every index occurs exactly once over all ranks, and the last
    batches of the ranks differ by one sample at most. Every rank gets the same number of batches, so that a collective
    call per batch cannot hang; with more ranks than remaining samples some last batches are empty lists.

    torch's DistributedSampler repeats samples instead to make the ranks equal.

    With ``repeats`` an epoch shows fewer images, each several times in other augmentations (Hoffer et al. 2019,
    *Augment your batch*, arXiv 1901.09335), and is as long as without. As in DeiT's and timm's samplers, copies that
    follow one another go to different ranks:

        repeats 3, 2 ranks | a0 a1 a2 b0 b1 b2 | r0: a0 a2 b1, r1: a1 b0 b2

    Args:
        num_samples: in the data set.
        batch_size: samples per process.
        rank: of this process.
        world_size: number of processes.
        seed: of the order.
        shuffle: in a new order each epoch.
        drop_last: leave out the last, incomplete global batch.
        repeats: how often an image of an epoch is shown; 1: every image once.

    Raises:
        DataError: there is no batch, ``rank`` is not below ``world_size``, or ``repeats`` is not positive.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        repeats: int = 1,
    ) -> None:
        if repeats < 1:
            raise DataError(f"an image is shown once or more often in an epoch, not {repeats} times")
        if num_samples < 1 or batch_size < 1:
            raise DataError(f"a sampler needs at least one sample and a batch of one, got {num_samples}, {batch_size}")
        if not 0 <= rank < world_size:
            raise DataError(f"rank must lie in 0..world_size-1, got rank {rank} of {world_size}")
        if drop_last and num_samples < batch_size * world_size:
            raise DataError(
                f"{num_samples} training samples do not fill one batch of {batch_size} on "
                f"{counted(world_size, 'process', 'processes')}; "
                f"lower batch_size to at most {num_samples // world_size}"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.repeats = repeats
        self.epoch = 0
        self.start = 0

    @property
    def sampler(self) -> GlobalBatches:
        """Itself: Lightning calls ``set_epoch`` of ``dataloader.batch_sampler.sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, which starts with its first batch unless :meth:`resume` was called."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def resume(self, epoch: int, batch: int) -> None:
        """Start the next iteration of ``epoch`` with batch number ``batch``."""
        self.epoch, self.start = epoch, batch

    def __len__(self) -> int:
        """Batches of a whole epoch; one that is resumed yields fewer."""
        group = self.batch_size * self.world_size
        return self.num_samples // group if self.drop_last else -(-self.num_samples // group)

    def plan(self) -> list[tuple[int, int, SampleKey]]:
        """Of every global batch of the current epoch: start and end in its order, and what its keys add."""
        group = self.batch_size * self.world_size
        return [(at * group, min((at + 1) * group, self.num_samples), ()) for at in range(len(self))]

    def meaning(self) -> dict[str, Any]:
        """What a batch number means, to be compared when a run is resumed."""
        images = self.batch_size * self.world_size
        named = {"images": images, "samples": self.num_samples, "seed": self.seed, "repeats": self.repeats}
        return named | {"sizes": ""}

    def order(self) -> np.ndarray:
        """Indices of the current epoch in order, int64 ``(num_samples,)``."""
        return epoch_order(self.num_samples, self.seed, self.epoch) if self.shuffle else np.arange(self.num_samples)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order, plan = self.epoch, self.order(), self.plan()
        for start, stop, more in plan[self.start :]:
            yield [
                (epoch * self.repeats + position % self.repeats, int(order[position // self.repeats]), *more)
                for position in self._own(start, stop)
            ]

    def _own(self, start: int, stop: int) -> range:
        """The positions of a global batch that are this rank's."""
        if self.repeats > 1:
            return range(start + self.rank, stop, self.world_size)
        size = stop - start
        return range(start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size)
