"""The data module for semantic segmentation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from visionattn.data.checks import Report
from visionattn.data.classes import ClassInfo
from visionattn.data.classification.module import ClassificationData
from visionattn.data.classification.transforms import IMAGENET_MEAN, IMAGENET_STD, ImageSize
from visionattn.data.loading import IndexedLoader
from visionattn.data.normalize import Normalise
from visionattn.data.sampling import GlobalBatches
from visionattn.data.segmentation.checks import examine
from visionattn.data.segmentation.dataset import MaskDataset, PairCollate, PairTransform
from visionattn.data.segmentation.labels import IGNORE, LabelError, shift_of
from visionattn.data.segmentation.sources import MaskRecords, MaskSource
from visionattn.data.segmentation.transforms import SegmentationEvalTransform
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

_GLANCE = 256


class SegmentationData(ClassificationData):
    """Pictures with a class for every pixel; order, batches, budget and resuming as in :class:`ClassificationData`.

    Training batches: {"image": float (B, 3, h, w), "target": int64 (B, h, w), "id", "unreadable", "faults"}; the others
    hold lists, each picture in its own size: {"image": [float (3, H, W)], "target": [int64 (H, W)], ...}. IGNORE marks
    pixels that count nowhere; `faults` holds the messages of label maps that cannot be right.

    image_size: the crop. train_transform, eval_transform: called as `factory(image_size=, mean=, std=)`, then with a
    picture and its classes. The other arguments are those of :class:`ClassificationData`.

    Reading a split looks at some of its masks: labels that stand for nothing, and labels that are shifted against the
    data set's own statistics, raise LabelError before anything is trained.
    """

    def __init__(
        self,
        source: MaskSource | Callable[..., MaskSource],
        num_classes: int,
        image_size: ImageSize = 512,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        batch_size: int = 16,
        eval_batch_size: int | None = 1,
        train_transform: Callable[..., PairTransform] | None = None,
        eval_transform: Callable[..., SegmentationEvalTransform] = SegmentationEvalTransform,
        **options: Any,
    ) -> None:
        super().__init__(
            source,  # type: ignore[arg-type]
            num_classes,
            image_size,
            mean,
            std,
            batch_size,
            eval_batch_size,
            train_transform=train_transform,  # type: ignore[arg-type]
            eval_transform=eval_transform,  # type: ignore[arg-type]
            **options,
        )
        self._cropped = train_transform is not None
        self.to_model_input = FinishPairs(mean, std)  # type: ignore[assignment]

    def masks(self, split: str) -> MaskRecords:
        """One split's records, read and checked on first use."""
        return self.records(split)  # type: ignore[return-value]

    @property
    def palette(self) -> np.ndarray:
        """uint8 (K, 3). Known after `setup`."""
        return next(iter(self._splits.values())).classes.palette  # type: ignore[union-attr]

    @property
    def class_info(self) -> ClassInfo:
        """Names and colors. Known after `setup`."""
        return ClassInfo(names=self.class_names, palette=self.palette.tolist())

    def fingerprint(self, split: str) -> str:
        """sha256 over the split's ordered ids and the sizes of its mask files."""
        return self.masks(split).fingerprint()

    def examine(self, split: str, report: Report) -> None:
        """For `visionattn data doctor`."""
        examine(self.source, self.num_classes, split, report)  # type: ignore[arg-type]

    def _check(self, split: str, records: Any) -> None:
        names = records.class_names
        if len(names) != self.num_classes:
            raise DataError(f"the {split} data have {len(names)} classes, but num_classes is {self.num_classes}")
        glance(records)

    def _loader(self, split: str, batch_size: int, transform: Any) -> DataLoader:
        records, training = self.masks(split), split == "train"
        dataset = MaskDataset(records, transform, self.seed, refill=training)
        batches = GlobalBatches(
            len(dataset),
            batch_size,
            rank=self._rank,
            world_size=self._world_size,
            seed=self.seed,
            shuffle=training and not self._overfitting,
            drop_last=training,
        )
        batches.set_epoch(self._epoch() if training else 0)
        collate = PairCollate(self.image_size, stacked=training and self._cropped)
        return IndexedLoader(dataset, batches, collate, **self._loading)  # type: ignore[arg-type]


def glance(records: MaskRecords) -> None:
    """Raises LabelError where some masks, evenly spread over the split, hold labels that cannot be right."""
    count = len(records.ids)
    pixels = np.zeros(IGNORE + 1, np.int64)
    places = sorted({place * count // _GLANCE for place in range(_GLANCE)}) if count > _GLANCE else range(count)
    for index in places:
        try:
            classes = records.table(records.stored(index), str(records.mask(index)))
        except UnreadableImage:
            continue  # counted against the budget when its turn comes
        pixels += np.bincount(classes.reshape(-1), minlength=IGNORE + 1)
    names, expected = records.class_names, records.classes.shares
    counted = pixels[: len(names)]
    if expected is not None and counted.sum() and (shift := shift_of(counted / counted.sum(), expected, len(places))):
        most = int(counted.argmax())
        truth = names[(most - shift) % len(names)]
        raise LabelError(
            f"the masks below {records.root} look shifted by {shift:+d}: what they call {names[most]!r} is as frequent "
            f"as {truth!r} should be; check whether 0 was removed or 1 was added (`visionattn data doctor` shows the "
            "frequencies)"
        )


class FinishPairs(Normalise):
    """8-bit pictures become normalised floats and label maps int64, on the device, stacked or in lists."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if isinstance(batch["image"], Tensor):
            return super().__call__(batch) | {"target": batch["target"].long()}
        images = [super(FinishPairs, self).__call__({"image": image[None]})["image"][0] for image in batch["image"]]
        return batch | {"image": images, "target": [target.long() for target in batch["target"]]}
