"""The data module for semantic segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import numpy as np
from torch import Tensor

from visionattn.data.checks import Report
from visionattn.data.classes import ClassInfo, check_count
from visionattn.data.dataset import Batch, Collate
from visionattn.data.image_size import ImageSize
from visionattn.data.module import VisionData
from visionattn.data.normalize import Normalize
from visionattn.data.options import DataOptions, EvalTransform
from visionattn.data.records import Source
from visionattn.data.segmentation.checks import validate
from visionattn.data.segmentation.class_use import as_absent, check_class_use, spot_check
from visionattn.data.segmentation.dataset import MaskCollate, MaskDataset, PairTransform
from visionattn.data.segmentation.sources.masks import MaskRecords
from visionattn.data.segmentation.transforms import SegmentationEvalTransform


class SegmentationData(VisionData[MaskRecords]):
    """Images with a class for every pixel.

    Training batches are ``{"image": float (B, 3, h, w), "target": int64 (B, h, w), "id", "unreadable", "faults"}``. The
    others hold lists, each image in its own size: ``{"image": [float (3, H, W)], "target": [int64 (H, W)], ...}``.
    ``IGNORE`` marks pixels that count nowhere. ``faults`` holds the messages of label maps that cannot be right.

    Reading a split looks at some of its masks, see :func:`visionattn.data.segmentation.class_use.spot_check`.

    Args:
        source: see :class:`VisionData`.
        num_classes: number of classes.
        image_size: the crop.
        batch_size: samples per process.
        train_transform: a factory called as ``factory(image_size=, mean=, std=)``, whose result is called with an image
            and its classes.
        eval_transform: the same.
        absent_classes: what is done about classes that never occur in the training masks: ``auto``, ``allow`` or
            ``refuse``, see :func:`visionattn.data.segmentation.class_use.check_class_use`.
        options: of :class:`VisionData`; ``eval_batch_size`` is 1 where it is not given.
    """

    def __init__(
        self,
        source: Source[MaskRecords] | Callable[..., Source[MaskRecords]],
        num_classes: int,
        image_size: ImageSize = 512,
        *,
        batch_size: int = 16,
        train_transform: Callable[..., PairTransform] | None = None,
        eval_transform: Callable[..., EvalTransform] = SegmentationEvalTransform,
        absent_classes: str = "auto",
        **options: Unpack[DataOptions],
    ) -> None:
        options.setdefault("eval_batch_size", 1)
        super().__init__(
            source,
            num_classes,
            image_size,
            batch_size=batch_size,
            train_transform=train_transform,
            eval_transform=eval_transform,
            **options,
        )
        self.absent_classes = as_absent(absent_classes)
        self._cropped = train_transform is not None
        self._normalize = Normalize(self.mean, self.std)

    @property
    def palette(self) -> np.ndarray:
        """uint8 ``(K, 3)``. Known after :meth:`setup`."""
        return self.known_records().classes.palette

    @property
    def class_info(self) -> ClassInfo:
        """Names and colors. Known after :meth:`setup`."""
        return ClassInfo(names=self.class_names, palette=self.palette.tolist())

    def check(self, split: str, records: MaskRecords) -> None:
        """Compare the number of classes with ``num_classes``, and look at some masks."""
        names = records.class_names
        check_count(split, len(names), self.num_classes)
        self.tell(*(f"{split}: {sentence}" for sentence in records.told))
        use = spot_check(records)
        self.tell(*check_class_use(records, use, split, self.absent_classes))

    def dataset(self, records: MaskRecords, transform: PairTransform, training: bool) -> MaskDataset:
        """Images with label maps, by index."""
        return MaskDataset(records, transform, self.seed, training)

    def collate(self, training: bool) -> Collate:
        """Stacked crops in training, lists otherwise."""
        return MaskCollate(self.image_size, training and self._cropped, self.in_chans)

    def to_model_input(self, batch: Batch) -> Batch:
        """Normalized images and int64 label maps, stacked or in lists."""
        images, targets = batch["image"], batch["target"]
        if isinstance(images, Tensor):
            return batch | {"image": self._normalize(images), "target": targets.long()}
        images = [self._normalize(image) for image in images]
        return batch | {"image": images, "target": [target.long() for target in targets]}

    def fingerprint(self, split: str) -> str:
        """sha256 over the split's ordered ids and the sizes of its mask files."""
        return self.records(split).fingerprint()

    def validate(self, split: str, report: Report) -> None:
        """Look at every image and mask of a split; see :func:`visionattn.data.segmentation.checks.validate`."""
        validate(self, self.num_classes, split, report, self.absent_classes)
