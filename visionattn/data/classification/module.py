"""The data module for classification."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from torch.utils.data import DataLoader

from visionattn.data.checks import Report
from visionattn.data.classes import check_count, same_classes
from visionattn.data.classification.checks import validate
from visionattn.data.classification.dataset import LabelCollate, LabelDataset, Transform, erase
from visionattn.data.classification.multi_scale import (
    BATCHES,
    ScaledBatches,
    ScaledDataset,
    images_of_sizes,
    size_word,
    sizes_of,
)
from visionattn.data.classification.streams import SizedStreamDataset, StreamDataset, StreamLoader, StreamRecords
from visionattn.data.classification.transforms import EvalTransform
from visionattn.data.dataset import Batch, Collate
from visionattn.data.decoding import Decoding
from visionattn.data.image_size import ImageSize
from visionattn.data.module import VisionData
from visionattn.data.normalize import Normalize
from visionattn.data.options import DataOptions, at_least
from visionattn.data.records import Records, Source, check_labels, fingerprint
from visionattn.data.sampling import GlobalBatches
from visionattn.errors import ConfigError, DataError

_WORDNET_ID = re.compile(r"n\d{8}")
AnyRecords = Records | StreamRecords


class ClassificationData(VisionData[AnyRecords]):
    """Images with one label each.

    The loaders give ``{"image": uint8 (B, C, H, W), "target": int64 (B,), "id": list, "unreadable": list of (id,
    reason), "erased": list}``. On the device the image becomes float, and ``erased`` is painted into it. B can be 0 in
    evaluation, where a process has no sample left or no image of a batch could be read.

    Args:
        source: see :class:`VisionData`; its records are read by index or as a stream.
        num_classes: number of classes of the model and of the data.
        image_size: one number or (height, width).
        batch_size: samples per process.
        train_transform: a factory called as ``factory(image_size=, mean=, std=)``, e.g. a partial of
            :class:`TrainTransform`; None: the evaluation transform.
        eval_transform: a factory called in the same way.
        repeats: how often each image of an epoch is shown, in other augmentations each time; the epoch has as many
            batches and fewer images. See :class:`GlobalBatches`; 3 is DeiT's.
        multi_scale: sizes of training images, each one number or (height, width), which batches have by turns, see
            :class:`ScaledBatches`; None: all have ``image_size``, as in evaluation.
        multi_scale_images: of a batch: ``pixels`` (as many pixels as a batch of ``image_size``) or ``least`` (that,
            but never fewer images than ``batch_size``).
        options: of :class:`VisionData`.
    """

    def __init__(
        self,
        source: Source[AnyRecords] | Callable[..., Source[AnyRecords]],
        num_classes: int,
        image_size: ImageSize = 224,
        *,
        batch_size: int = 64,
        train_transform: Callable[..., Transform] | None = None,
        eval_transform: Callable[..., EvalTransform] | None = None,
        repeats: int = 1,
        multi_scale: Sequence[ImageSize] | None = None,
        multi_scale_images: str = "pixels",
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(
            source,
            num_classes,
            image_size,
            batch_size=batch_size,
            train_transform=train_transform,
            eval_transform=eval_transform or EvalTransform,
            **options,
        )
        self.normalize = Normalize(self.mean, self.std)
        self.repeats = at_least(1, "repeats", repeats)
        if multi_scale_images not in BATCHES:
            raise ConfigError(f"data.multi_scale_images is one of {', '.join(BATCHES)}, got {multi_scale_images!r}")
        self.multi_scale, self._scaled_images = sizes_of(multi_scale), multi_scale_images
        self._transform_of = partial(train_transform or eval_transform or EvalTransform, mean=self.mean, std=self.std)

    def check(self, split: str, records: AnyRecords) -> None:
        """Compare number and names of classes, and the labels of indexed records, with ``num_classes``."""
        names = records.class_names
        if names:
            check_count(split, len(names), self.num_classes)
        if not isinstance(records, StreamRecords):
            check_labels(records.labels, self.num_classes, f"the {split} data")
        if len(names) == 1:
            raise DataError(f"the {split} data have one class alone ({names[0]}): a classifier tells two or more apart")
        self.tell(*(f"{split}: {sentence}" for sentence in getattr(records, "told", ())))
        same_classes(split, names, ((other, known.class_names) for other, known in self._splits.items()))

    def decoding_for(self, records: AnyRecords) -> Decoding:
        """As stated; ``exif=auto`` takes ImageNet's own classes (WordNet ids) as stored, as published scores do."""
        names = records.class_names
        wordnet = bool(names) and all(_WORDNET_ID.fullmatch(name) for name in names)
        return replace(self.decoding, exif="ignore") if wordnet and self.decoding.exif == "auto" else self.decoding

    def dataset(self, records: AnyRecords, transform: Transform, training: bool) -> LabelDataset:
        """Images with labels, by index."""
        assert not isinstance(records, StreamRecords)
        if training and self.multi_scale:
            return ScaledDataset(records, [self._transform_of(image_size=size) for size in self.multi_scale], self.seed)
        return LabelDataset(records, transform, self.seed, training)

    def batches(self, records: AnyRecords, training: bool, **options: Any) -> GlobalBatches:
        """The keys of every batch; training repeats images, and has sizes by turns."""
        options["repeats"] = self.repeats if training else 1
        if not (training and self.multi_scale):
            return super().batches(records, training, **options)
        return ScaledBatches(self.multi_scale, self.image_size, self._scaled_images, self.count(records), **options)

    def told_sizes(self, processes: int) -> str:
        """Images of a global batch of each size of ``multi_scale``, in words; empty: all batches are alike."""
        counts = images_of_sizes(self.multi_scale, self.image_size, self._scaled_images, self.batch_size, processes)
        pairs = zip(self.multi_scale, counts, strict=True)
        return ", ".join(f"{images} of {size_word(size)}" for size, images in pairs)

    def collate(self, training: bool) -> Collate:
        """Stacked images and labels."""
        return LabelCollate(self.image_size, self.in_chans)

    def to_model_input(self, batch: Batch) -> Batch:
        """The batch with normalized, erased images, and without the entry ``erased``."""
        images = erase(self.normalize(batch["image"]), batch.get("erased", []))
        return {name: value for name, value in batch.items() if name != "erased"} | {"image": images}

    def count(self, records: AnyRecords) -> int:
        """Samples of a split."""
        return records.num_samples if isinstance(records, StreamRecords) else len(records.ids)

    def fingerprint(self, split: str) -> str:
        """sha256 of a split.

        It covers the ordered ids and labels, and the pixels of the digits; of shards names and sizes.
        """
        records = self.records(split)
        return records.fingerprint() if isinstance(records, StreamRecords) else fingerprint(records)

    def validate(self, split: str, report: Report) -> None:
        """Look at every image of a split; see :func:`visionattn.data.classification.checks.validate`."""
        validate(self, self.num_classes, split, report, self.eval_transform)

    def _loader(self, split: str, batch_size: int, training: bool = False) -> DataLoader:
        records = self.records(split)
        if isinstance(records, StreamRecords):
            if self.repeats > 1:
                raise ConfigError(
                    f"data.repeats={self.repeats} shows images several times in an epoch; shards are read as a stream, "
                    "each image once: data.repeats=1, or an image folder"
                )
            if self.multi_scale:
                raise ConfigError(
                    "data.multi_scale needs images that are read by their number; shards are read as a stream: "
                    "data.multi_scale=null, or an image folder"
                )
            if records.training and not training:
                raise ConfigError("the training split of shards has no end; split=val or split=test is scored")
            return self._stream_loader(records, batch_size)
        return super()._loader(split, batch_size, training)

    def _stream_loader(self, records: StreamRecords, batch_size: int) -> DataLoader:
        rank, world_size, workers = self._rank, self._world_size, self._loading.get("num_workers", 0)
        records.prepare(rank=rank, world_size=world_size, num_workers=workers, batch_size=batch_size)
        total = 0 if records.training else max(records.batches_per_rank(other) for other in range(world_size))
        transform = self.train_transform if records.training else self.eval_transform
        make: type[StreamDataset] = SizedStreamDataset if records.training else StreamDataset
        stream = make(records, transform, self.num_classes, self.seed)
        return StreamLoader(stream, self.collate(records.training), self._epoch, total, batch_size, **self._loading)
