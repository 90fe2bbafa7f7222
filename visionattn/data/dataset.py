"""From records to samples: random state, refilling of unreadable images, and nothing that depends on a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor
from torch.utils.data import Dataset

from visionattn.data.sampling import SampleKey
from visionattn.data.seeding import SampleRandomState, stable_seed
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord

REFILL_ATTEMPTS = 20
Batch = dict[str, Any]


@dataclass
class Sample:
    """One slot of a batch.

    Attributes:
        image: uint8 or float ``(3, H, W)``; None where no image could be read.
        target: a label, a label map or a dict of objects, as the task needs it.
        sample_id: id of the sample in its data set.
        unreadable: images that could not be read while this slot was filled.
        fault: a message that must stop the run; empty if nothing is wrong.
        meta: what else the batch says about the sample, by the batch's own keys.
    """

    image: Tensor | None
    target: Any
    sample_id: str
    unreadable: list[UnreadableRecord] = field(default_factory=list)
    fault: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


Collate = Callable[[list[Sample]], Batch]


class IndexedRecords(Protocol):
    """Records that a :class:`SampleDataset` reads by index."""

    @property
    def ids(self) -> Sequence[str]:
        """Stable sample ids, in order."""


R = TypeVar("R", bound=IndexedRecords)


class SampleDataset(Dataset[Sample], ABC, Generic[R]):
    """Records by ``(epoch, index)``, as :class:`visionattn.data.sampling.GlobalBatches` names them.

    In training an unreadable image is replaced by another one, chosen by (seed, epoch, index, attempt) alone. After 20
    unreadable choices the slot stays empty. In evaluation the slot stays empty at once.

    Args:
        records: one split.
        transform: what :meth:`load` applies.
        seed: of augmentation and of refilling.
        training: refill slots.
    """

    def __init__(self, records: R, transform: Callable[..., Any], seed: int = 0, training: bool = False) -> None:
        self.records = records
        self.transform = transform
        self.seed = seed
        self.training = training

    @abstractmethod
    def load(self, choice: int, key: SampleKey) -> Sample:
        """Read and transform one sample. The global random state is that of ``key``.

        Args:
            choice: index of the sample to read; not that of the key where a slot is refilled.
            key: (epoch, index) of the slot, and what its batch adds.

        Raises:
            UnreadableImage: the image cannot be read.
        """

    def __len__(self) -> int:
        return len(self.records.ids)

    def __getitem__(self, key: SampleKey) -> Sample:
        epoch, index = key[:2]
        unreadable: list[UnreadableRecord] = []
        choice = index
        for attempt in range(1 + REFILL_ATTEMPTS * self.training):
            if attempt:
                choice = stable_seed(self.seed, epoch, index, "refill", attempt) % len(self)
            try:
                with SampleRandomState(self.seed, epoch, index):
                    sample = self.load(choice, key)
            except UnreadableImage as error:
                unreadable.append((self.records.ids[choice], str(error)))
                continue
            sample.unreadable = unreadable
            return sample
        return Sample(None, None, self.records.ids[index], unreadable)


def all_unreadable(samples: Sequence[Sample]) -> list[UnreadableRecord]:
    """The unreadable images of all slots of a batch."""
    return [record for sample in samples for record in sample.unreadable]
