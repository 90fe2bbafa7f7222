"""The data module for detection and instance segmentation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from torch.utils.data import DataLoader

from visionattn.data.checks import Report
from visionattn.data.classes import ClassInfo
from visionattn.data.classification.module import ClassificationData
from visionattn.data.classification.transforms import IMAGENET_MEAN, IMAGENET_STD, ImageSize
from visionattn.data.detection.checks import examine
from visionattn.data.detection.dataset import FinishScenes, GroupedBatches, SceneCollate, SceneDataset
from visionattn.data.detection.sources import Coco
from visionattn.data.detection.transforms import DetectionEvalTransform
from visionattn.data.loading import IndexedLoader
from visionattn.data.sampling import GlobalBatches
from visionattn.errors import ConfigError, DataError


class DetectionData(ClassificationData):
    """Pictures with boxes and masks; order, budget and resuming as in :class:`ClassificationData`.

    Batches, once on the device: {"image": float (B, 3, H, W), padded with zeros; "size": (height, width) of each
    picture in it; "target": list of {"boxes": float (N, 4) x1 y1 x2 y2, "labels": int64 (N,), "masks": uint8
    (N, H, W)}, empty in evaluation, which takes the truth from the annotation file; "original": sizes before resizing;
    "image_id", "id", "unreadable"}.

    image_size: (height, width) that the model's cost is counted at. train_transform, eval_transform: called as
    `factory(image_size=, mean=, std=)`. group: pictures of a batch are all wide or all tall. divisor: batches are
    padded to multiples of it. copy_paste: probability of pasting objects of another picture (with masks). The other
    arguments are those of :class:`ClassificationData`.
    """

    def __init__(
        self,
        source: Coco | Callable[..., Coco],
        num_classes: int,
        image_size: ImageSize = (800, 1333),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        batch_size: int = 2,
        eval_batch_size: int | None = None,
        train_transform: Callable[..., Any] | None = None,
        eval_transform: Callable[..., DetectionEvalTransform] = DetectionEvalTransform,
        group: bool = True,
        divisor: int = 32,
        copy_paste: float = 0.0,
        **options: Any,
    ) -> None:
        if train_transform is None:
            raise ConfigError("detection needs a train_transform, e.g. DetectionTrainTransform")
        super().__init__(
            source,  # type: ignore[arg-type]
            num_classes,
            image_size,
            mean,
            std,
            batch_size,
            eval_batch_size,
            train_transform=train_transform,
            eval_transform=eval_transform,  # type: ignore[arg-type]
            **options,
        )
        self.group, self.copy_paste = group, copy_paste
        self.to_model_input = FinishScenes(mean, std, divisor)  # type: ignore[assignment]

    @property
    def category_ids(self) -> list[int]:
        """The data set's own number of every label. Known after `setup`."""
        if not self._splits:
            raise DataError("category ids are known only after setup()")
        return next(iter(self._splits.values())).category_ids  # type: ignore[union-attr]

    @property
    def class_info(self) -> ClassInfo:
        """Names and category ids. Known after `setup`."""
        return ClassInfo(names=self.class_names, ids=list(self.category_ids))

    def fingerprint(self, split: str) -> str:
        """sha256 over the split's names, sizes, boxes and labels."""
        return self.records(split).fingerprint()  # type: ignore[union-attr]

    def examine(self, split: str, report: Report) -> None:
        """For `visionattn data doctor`."""
        examine(self.source, self.num_classes, split, report)  # type: ignore[arg-type]

    def _check(self, split: str, records: Any) -> None:
        if len(records.class_names) != self.num_classes:
            raise DataError(
                f"the {split} annotations have {len(records.class_names)} categories, but num_classes is "
                f"{self.num_classes}"
            )
        for other, known in self._splits.items():
            if (known.class_names, known.category_ids) != (records.class_names, records.category_ids):  # type: ignore[union-attr]
                raise DataError(f"the categories of {other} and {split} differ")
        if records.annotations.dropped.counts and self._rank == 0:
            Console(stderr=True).print(f"{split}: left out {records.annotations.dropped}", highlight=False)

    def _dataset(self, records: Any, transform: Any, training: bool) -> SceneDataset:
        return SceneDataset(records, transform, self.seed, training, self.copy_paste)

    def _loader(self, split: str, batch_size: int, transform: Any) -> DataLoader:
        records: Any = self.records(split)
        training = split == "train"
        dataset = self._dataset(records, transform, training)
        shuffle = training and not self._overfitting
        options: dict[str, Any] = {
            "rank": self._rank,
            "world_size": self._world_size,
            "seed": self.seed,
            "drop_last": training,
        }
        batches: GlobalBatches
        if shuffle and self.group:
            sizes = records.annotations.sizes
            batches = GroupedBatches(np.asarray(sizes[:, 1] >= sizes[:, 0]), batch_size, shuffle=True, **options)
        else:
            batches = GlobalBatches(len(dataset), batch_size, shuffle=shuffle, **options)
        batches.set_epoch(self._epoch() if training else 0)
        return IndexedLoader(dataset, batches, SceneCollate(), **self._loading)  # type: ignore[arg-type]
