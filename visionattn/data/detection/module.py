"""The data module for detection and instance segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack

import numpy as np

from visionattn.data.checks import Report
from visionattn.data.classes import ClassInfo, check_count
from visionattn.data.dataset import Batch, Collate
from visionattn.data.detection.box_format import box_fault
from visionattn.data.detection.checks import validate
from visionattn.data.detection.coco import Coco
from visionattn.data.detection.dataset import GroupedBatches, NormalizeAndPad, ObjectDataset, collate
from visionattn.data.detection.objects import NO_MASK
from visionattn.data.detection.sources import CocoRecords, SizedImages
from visionattn.data.detection.splits import (
    LEFT_OUT_BUDGET,
    LostObjects,
    check_masks,
    check_share,
    namesakes,
    same_categories,
    unlearned,
)
from visionattn.data.detection.tally import Tally
from visionattn.data.detection.transforms import DetectionEvalTransform
from visionattn.data.image_size import ImageSize
from visionattn.data.module import VisionData
from visionattn.data.options import DataOptions, EvalTransform, check_shares
from visionattn.data.records import Source
from visionattn.data.sampling import GlobalBatches
from visionattn.errors import ConfigError, DataError

S = TypeVar("S", bound=SizedImages[Any])


class CocoOptions(DataOptions, total=False):
    """Arguments of :class:`CocoData` that its subclasses hand on."""

    batch_size: int
    train_transform: Callable[..., Callable[..., Any]] | None
    eval_transform: Callable[..., EvalTransform]
    group: bool
    divisor: int
    left_out_budget: float


class CocoData(VisionData[S]):
    """Images of COCO's layouts, of any size, batched with padding: what detection and panoptic data share.

    Args:
        source: see :class:`VisionData`.
        num_classes: number of categories.
        image_size: (height, width) that the model's cost is counted at.
        batch_size: samples per process.
        train_transform: a factory called as ``factory(image_size=, mean=, std=)``.
        eval_transform: the same.
        group: images of a batch are all wide or all tall.
        divisor: batches are padded to multiples of it.
        left_out_budget: share of a split's annotations that may be left out because they are wrong.
        options: of :class:`VisionData`.

    Raises:
        ConfigError: no ``train_transform``, or a budget that is no share.
    """

    def __init__(
        self,
        source: Source[S] | Callable[..., Source[S]],
        num_classes: int,
        image_size: ImageSize = (800, 1333),
        *,
        batch_size: int = 2,
        train_transform: Callable[..., Callable[..., Any]] | None = None,
        eval_transform: Callable[..., EvalTransform] = DetectionEvalTransform,
        group: bool = True,
        divisor: int = 32,
        left_out_budget: float = LEFT_OUT_BUDGET,
        **options: Unpack[DataOptions],
    ) -> None:
        if train_transform is None:
            raise ConfigError("detection needs a train_transform, e.g. DetectionTrainTransform")
        if not 0 <= left_out_budget <= 1:
            raise ConfigError(f"left_out_budget is a share between 0 and 1, got {left_out_budget}")
        super().__init__(
            source,
            num_classes,
            image_size,
            batch_size=batch_size,
            train_transform=train_transform,
            eval_transform=eval_transform,
            **options,
        )
        self.group, self.left_out_budget = group, left_out_budget
        self._lost = LostObjects()
        self._normalize = NormalizeAndPad(self.mean, self.std, divisor)

    @property
    def category_ids(self) -> list[Any]:
        """The data set's own id of every label. Known after :meth:`setup`."""
        return list(self.known_records().category_ids)

    @property
    def class_info(self) -> ClassInfo:
        """Names and category ids. Known after :meth:`setup`."""
        return ClassInfo(names=self.class_names, ids=self.category_ids)

    def check(self, split: str, records: S) -> None:
        """Compare the categories with ``num_classes`` and other splits; print what was mended and what was left out.

        Raises:
            DataError: the categories differ, or more was left out than the budget allows.
        """
        check_count(split, len(records.class_names), self.num_classes, "categories")
        for other, known in self._splits.items():
            same_categories(split, records, other, known)
        self.tell(*(f"{split}: {sentence}" for sentence in records.told), *filter(None, [namesakes(records)]))
        notes = records.annotations
        self._tell(f"{split}: excluded annotations", notes.dropped)
        self._tell(f"{split}: mended", notes.repaired)
        check_share(notes.dropped, notes.listed, self.left_out_budget, f"{split} annotations")

    def _tell(self, what: str, tally: Tally) -> None:
        if tally.counts:
            self.tell(f"{what}: {tally}")

    def collate(self, training: bool) -> Collate:
        """Lists of images and targets."""
        return collate

    def to_model_input(self, batch: Batch) -> Batch:
        """Normalized images, padded to one size."""
        sentence = self._lost.add(batch.get("objects", ()))
        if sentence:
            self.tell(sentence)
        return self._normalize(batch)

    def batches(self, records: S, training: bool, **options: Any) -> GlobalBatches:
        """The keys of every batch, grouped by shape where the order is random."""
        if not (options["shuffle"] and self.group):
            return super().batches(records, training, **options)
        sizes = records.annotations.sizes
        return GroupedBatches(np.asarray(sizes[:, 1] >= sizes[:, 0]), **options)

    def fingerprint(self, split: str) -> str:
        """sha256 over the split's names, sizes and annotations."""
        return self.records(split).fingerprint()


class DetectionData(CocoData[CocoRecords]):
    """Images with boxes and masks.

    Batches, once on the device: ``{"image": float (B, 3, H, W), padded with zeros; "size": (height, width) of each
    image in it; "target": list of {"boxes": float (N, 4) x1 y1 x2 y2, "labels": int64 (N,), "masks": uint8 (N, H, W)},
    empty in evaluation, which takes the ground truth from the annotation file; "original": sizes before resizing;
    "image_id", "id", "unreadable"}``.

    Args:
        source: see :class:`VisionData`.
        num_classes: number of categories.
        copy_paste: probability of pasting objects of another image (with masks).
        options: of :class:`CocoData`.
    """

    def __init__(
        self,
        source: Coco | Callable[..., Coco],
        num_classes: int,
        image_size: ImageSize = (800, 1333),
        *,
        copy_paste: float = 0.0,
        **options: Unpack[CocoOptions],
    ) -> None:
        check_shares("data", copy_paste=copy_paste)
        super().__init__(source, num_classes, image_size, **options)
        self.copy_paste = copy_paste
        self._masks_needed: bool | None = None

    def check(self, split: str, records: CocoRecords) -> None:
        """See :meth:`CocoData.check`; masks that cannot be drawn are told too."""
        super().check(split, records)
        fault = box_fault(records.annotations)
        if fault:
            raise DataError(f"{records.file}: {fault}; convert them, see visionattn data doctor")
        invalid = Tally({reason: n for reason, n in records.annotations.unmasked.counts.items() if reason != NO_MASK})
        self._tell(f"{split}: excluded masks, whose boxes stay", invalid)
        if split != "train" and "train" in self._splits:
            self.tell(*filter(None, [unlearned(split, records, self._splits["train"])]))

    def require_masks(self, needed: bool) -> None:
        """See :meth:`visionattn.data.detection.splits.MasksOnDemand.require_masks`: without need, masks are not drawn.

        Raises:
            DataError: they are needed, and more training objects than ``left_out_budget`` have none.
        """
        self._masks_needed = needed or self.copy_paste > 0
        for split, records in self._splits.items():
            if self._masks_needed and len(records.annotations.labels):
                self._tell(f"{split}: objects without a mask", records.annotations.unmasked)
                check_masks(split, records, self.left_out_budget)

    def dataset(self, records: CocoRecords, transform: Callable[..., Any], training: bool) -> ObjectDataset:
        """Images with objects, by index."""
        masks = records.masks if self._masks_needed is None else self._masks_needed
        return ObjectDataset(records, transform, self.seed, training, self.copy_paste, masks)

    def validate(self, split: str, report: Report) -> None:
        """Look at every image and annotation of a split; see :func:`visionattn.data.detection.checks.validate`."""
        validate(self, self.num_classes, split, report)
