"""The data module for panoptic segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from torch import Tensor

from visionattn.data.checks import Report
from visionattn.data.classes import ClassInfo
from visionattn.data.detection.dataset import CocoDataset, Target
from visionattn.data.detection.module import CocoData, CocoOptions
from visionattn.data.image_size import ImageSize
from visionattn.data.panoptic.checks import validate
from visionattn.data.panoptic.sources import CocoPanoptic, PanopticRecords
from visionattn.errors import ConfigError, DataError


class SegmentDataset(CocoDataset[PanopticRecords]):
    """Images with segments: masks in training; in evaluation a map of segments at the original size."""

    def read(self, index: int) -> tuple[Tensor, Target]:
        """One image and its segments."""
        image, segments = self.records.image(index), self.records.segments(index)
        if not self.training:
            return self.transform(image), segments
        return self.transform(image, segments)


class PanopticData(CocoData[PanopticRecords]):
    """Images with segments.

    Batches are those of :class:`visionattn.data.DetectionData` but for the targets: in training ``{"labels": int64
    (N,), "masks": uint8 (N, H, W)}``, in evaluation ``{"ids": int32 (H, W) at the original size, "labels": int64 (n,),
    "crowd": bool (n,)}``.

    Args:
        source: see :class:`visionattn.data.VisionData`.
        num_classes: number of categories, things and stuff.
        image_size: (height, width) that the model's cost is counted at.
        copy_paste: must be 0; copy-paste knows objects only.
        options: of :class:`visionattn.data.detection.module.CocoData`.

    Raises:
        ConfigError: ``copy_paste`` is not 0.
    """

    def __init__(
        self,
        source: CocoPanoptic | Callable[..., CocoPanoptic],
        num_classes: int,
        image_size: ImageSize = (800, 1333),
        *,
        copy_paste: float = 0.0,
        **options: Unpack[CocoOptions],
    ) -> None:
        super().__init__(source, num_classes, image_size, **options)
        if copy_paste:
            raise ConfigError("copy_paste puts objects into an image; panoptic targets need every pixel's segment")

    @property
    def things(self) -> list[bool]:
        """Whether each class is a thing. Known after :meth:`setup`."""
        return list(self.known_records().things)

    @property
    def class_info(self) -> ClassInfo:
        """Names, category ids, and which classes are things. Known after :meth:`setup`."""
        return ClassInfo(names=self.class_names, ids=self.category_ids, things=list(map(bool, self.things)))

    def check(self, split: str, records: PanopticRecords) -> None:
        """Compare the categories, and which of them are things, with other splits."""
        super().check(split, records)
        for other, known in self._splits.items():
            if known.things != records.things:
                raise DataError(f"{other} and {split} do not agree on which categories are things")

    def dataset(self, records: PanopticRecords, transform: Callable[..., Any], training: bool) -> SegmentDataset:
        """Images with segments, by index."""
        return SegmentDataset(records, transform, self.seed, training)

    def validate(self, split: str, report: Report) -> None:
        """Look at every image and map of a split; see :func:`visionattn.data.panoptic.checks.validate`."""
        validate(self, self.num_classes, split, report)
