"""From records to batches: decoding, augmentation from the sample's own random state, and what to do with bad files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from visionattn.data.decode import Picture, decode_rgb
from visionattn.data.erasing import Erasure
from visionattn.data.records import Records, StreamRecords
from visionattn.data.sampling import SampleKey
from visionattn.data.seeding import SampleRandomState, stable_seed
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord
from visionattn.errors import DataError

Transform = Callable[[Picture], torch.Tensor]
"""A picture to a tensor (3, H, W), uint8 to be normalised on the device or finished float32.

It may have an attribute `decode`, which makes its pictures (:func:`decode_rgb` otherwise), and a method `erasures()`,
which says what is erased from the picture it was called with last.
"""

REFILL_ATTEMPTS = 20


@dataclass
class Sample:
    """One slot of a batch: a picture with its label and id, or none; and the records of what could not be read."""

    image: torch.Tensor | None
    target: int
    sample_id: str
    erased: list[Erasure] = field(default_factory=list)
    unreadable: list[UnreadableRecord] = field(default_factory=list)


class Collate:
    """Samples to a batch: {"image": (B, 3, H, W), "target": int64 (B,), "id": list, "unreadable": list of pairs,
    "erased": list of (place in the batch, *Erasure)}.

    Slots without a picture are left out, so B may be smaller than the number of slots, even 0.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, samples: list[Sample]) -> dict[str, Any]:
        images = [sample.image for sample in samples if sample.image is not None]
        kept = [sample for sample in samples if sample.image is not None]
        return {
            "image": torch.stack(images) if images else torch.zeros(0, 3, *self.size, dtype=torch.uint8),
            "target": torch.tensor([sample.target for sample in kept], dtype=torch.int64),
            "id": [sample.sample_id for sample in kept],
            "unreadable": [record for sample in samples for record in sample.unreadable],
            "erased": [(place, *one) for place, sample in enumerate(kept) for one in sample.erased],
        }


def decoder_of(transform: Transform) -> Callable[[bytes], Picture]:
    """What makes the pictures that a transform wants."""
    return getattr(transform, "decode", decode_rgb)


def apply(transform: Transform, picture: Picture) -> tuple[torch.Tensor, list[Erasure]]:
    """The transform's tensor, and what is to be erased from it."""
    tensor = transform(picture)
    erasures = getattr(transform, "erasures", None)
    return tensor, erasures() if erasures is not None else []


class IndexedDataset(Dataset[Sample]):
    """Records by (epoch, index), as `GlobalBatches` names them.

    With `refill` (training) an unreadable picture's slot is taken by another one, chosen by (seed, epoch, index,
    attempt) alone; after 20 unreadable choices the slot stays empty. Without it (evaluation) the slot stays empty.
    """

    def __init__(self, records: Records, transform: Transform, seed: int = 0, refill: bool = False) -> None:
        self.records = records
        self.transform = transform
        self.seed = seed
        self.refill = refill

    def __len__(self) -> int:
        return len(self.records.ids)

    def __getitem__(self, key: SampleKey) -> Sample:
        epoch, index = key
        unreadable: list[UnreadableRecord] = []
        choice = index
        for attempt in range(1 + REFILL_ATTEMPTS * self.refill):
            if attempt:
                choice = stable_seed(self.seed, epoch, index, "refill", attempt) % len(self)
            try:
                picture = self.records.load(choice, decoder_of(self.transform))
            except UnreadableImage as error:
                unreadable.append((self.records.ids[choice], str(error)))
                continue
            with SampleRandomState(self.seed, epoch, index):
                tensor, erased = apply(self.transform, picture)
            return Sample(tensor, int(self.records.labels[choice]), self.records.ids[choice], erased, unreadable)
        return Sample(None, -1, self.records.ids[index], [], unreadable)


class StreamDataset(IterableDataset[Sample]):
    """Records that come in order, as WebDataset shards do. Augmentation is drawn from (seed, epoch, sample id)."""

    def __init__(self, records: StreamRecords, transform: Transform, num_classes: int, seed: int = 0) -> None:
        self.records = records
        self.transform = transform
        self.num_classes = num_classes
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers live longer than an epoch

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)
        self.records.set_epoch(epoch)

    def __iter__(self) -> Iterator[Sample]:
        unreadable: list[UnreadableRecord] = []
        for sample_id, label, data in self.records.read():
            if not 0 <= label < self.num_classes:
                raise DataError(f"{sample_id} has label {label}, expected 0..{self.num_classes - 1} (num_classes)")
            try:
                picture = decoder_of(self.transform)(data)
            except UnreadableImage as error:
                unreadable.append((sample_id, str(error)))
                continue
            with SampleRandomState(self.seed, self.epoch, sample_id):
                tensor, erased = apply(self.transform, picture)
            yield Sample(tensor, label, sample_id, erased, unreadable)
            unreadable = []
        if unreadable:
            yield Sample(None, -1, unreadable[0][0], [], unreadable)
