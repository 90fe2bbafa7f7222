"""The data module for panoptic segmentation."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from visionattn.data.checks import Report
from visionattn.data.classes import ClassInfo
from visionattn.data.detection.dataset import SceneDataset
from visionattn.data.detection.module import DetectionData
from visionattn.data.panoptic.checks import examine
from visionattn.data.panoptic.sources import CocoPanoptic
from visionattn.errors import ConfigError, DataError


class SegmentDataset(SceneDataset):
    """As :class:`SceneDataset`; targets are masks in training, and in evaluation the segments at the original size."""

    def _picture(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        records: Any = self.records
        picture, segments = records.picture(index), records.segments(index)
        if not self.training:
            return self.transform(picture), segments
        return self.transform(picture, segments)


class PanopticData(DetectionData):
    """Pictures with segments; batches, order, budget and resuming as in :class:`DetectionData`, but for the targets:
    in training {"labels": int64 (N,), "masks": uint8 (N, H, W)}, in evaluation {"ids": int32 (H, W) at the original
    size, "labels": int64 (n,), "crowd": bool (n,)}.

    Raises ConfigError for `copy_paste`, which knows objects only.
    """

    def __init__(self, source: CocoPanoptic | Callable[..., CocoPanoptic], num_classes: int, **options: Any) -> None:
        super().__init__(source, num_classes, **options)  # type: ignore[arg-type]
        if self.copy_paste:
            raise ConfigError("copy_paste puts objects into a picture; panoptic targets need every pixel's segment")

    @property
    def things(self) -> list[bool]:
        """Of every class whether it is a thing. Known after `setup`."""
        if not self._splits:
            raise DataError("things are known only after setup()")
        return next(iter(self._splits.values())).things  # type: ignore[union-attr]

    @property
    def class_info(self) -> ClassInfo:
        """Names, category ids, and which are things. Known after `setup`."""
        return ClassInfo(names=self.class_names, ids=list(self.category_ids), things=list(map(bool, self.things)))

    def examine(self, split: str, report: Report) -> None:
        """For `visionattn data doctor`."""
        examine(self.source, self.num_classes, split, report)  # type: ignore[arg-type]

    def _check(self, split: str, records: Any) -> None:
        super()._check(split, records)
        for other, known in self._splits.items():
            if known.things != records.things:  # type: ignore[union-attr]
                raise DataError(f"{other} and {split} do not agree on which categories are things")

    def _dataset(self, records: Any, transform: Any, training: bool) -> SceneDataset:
        return SegmentDataset(records, transform, self.seed, training)
