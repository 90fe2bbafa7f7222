"""From records to batches of pictures with label maps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionattn.data.dataset import REFILL_ATTEMPTS
from visionattn.data.decode import Picture, decode_fast
from visionattn.data.sampling import SampleKey
from visionattn.data.seeding import SampleRandomState, stable_seed
from visionattn.data.segmentation.labels import IGNORE, LabelError
from visionattn.data.segmentation.sources import MaskRecords
from visionattn.data.unreadable import UnreadableImage, UnreadableRecord

PairTransform = Callable[[Picture, np.ndarray], tuple[Tensor, Tensor]]


@dataclass
class Pair:
    """One slot of a batch: a picture with its classes, or none; what could not be read; what must stop the run."""

    sample_id: str
    image: Tensor | None = None
    classes: Tensor | None = None
    unreadable: list[UnreadableRecord] = field(default_factory=list)
    fault: str = ""


class MaskDataset(Dataset[Pair]):
    """Records by (epoch, index), as `GlobalBatches` names them; see :class:`visionattn.data.dataset.IndexedDataset` for
    `refill`. A label map that cannot be right is no unreadable picture: its message goes along and stops the run.
    """

    def __init__(self, records: MaskRecords, transform: PairTransform, seed: int = 0, refill: bool = False) -> None:
        self.records, self.transform, self.seed, self.refill = records, transform, seed, refill

    def __len__(self) -> int:
        return len(self.records.ids)

    def __getitem__(self, key: SampleKey) -> Pair:
        epoch, index = key
        unreadable: list[UnreadableRecord] = []
        choice = index
        for attempt in range(1 + REFILL_ATTEMPTS * self.refill):
            if attempt:
                choice = stable_seed(self.seed, epoch, index, "refill", attempt) % len(self)
            try:
                picture, classes = self.records.load(choice, decode_fast)
            except UnreadableImage as error:
                unreadable.append((self.records.ids[choice], str(error)))
                continue
            except LabelError as error:
                return Pair(self.records.ids[choice], fault=str(error))
            with SampleRandomState(self.seed, epoch, index):
                image, labels = self.transform(picture, classes)
            return Pair(self.records.ids[choice], image, labels, unreadable)
        return Pair(self.records.ids[index], unreadable=unreadable)


class PairCollate:
    """Pairs to a batch: {"image", "target", "id", "unreadable", "faults"}; slots without a picture are left out.

    A slot whose labels cannot be right holds a black picture without labels in training: the processes of a run take
    that step together, and stop together after it.

    stacked (training): uint8 (B, 3, h, w) and (B, h, w); else lists of uint8 (3, H, W) and (H, W), of any sizes.
    """

    def __init__(self, size: tuple[int, int], stacked: bool) -> None:
        self.size, self.stacked = size, stacked

    def __call__(self, pairs: list[Pair]) -> dict[str, Any]:
        faults = [pair.fault for pair in pairs if pair.fault]
        if self.stacked:
            pairs = [self._blank(pair) if pair.fault else pair for pair in pairs]
        kept = [pair for pair in pairs if pair.image is not None and pair.classes is not None]
        images, targets = [pair.image for pair in kept], [pair.classes for pair in kept]
        batch: dict[str, Any] = {"image": images, "target": targets}
        if self.stacked:
            batch = {
                "image": torch.stack(images) if kept else torch.zeros(0, 3, *self.size, dtype=torch.uint8),  # type: ignore[arg-type]
                "target": torch.stack(targets) if kept else torch.zeros(0, *self.size, dtype=torch.uint8),  # type: ignore[arg-type]
            }
        return batch | {
            "id": [pair.sample_id for pair in kept],
            "unreadable": [record for pair in pairs for record in pair.unreadable],
            "faults": faults,
        }

    def _blank(self, pair: Pair) -> Pair:
        image, classes = torch.zeros(3, *self.size, dtype=torch.uint8), torch.full(self.size, IGNORE, dtype=torch.uint8)
        return Pair(pair.sample_id, image, classes)
