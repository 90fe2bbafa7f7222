"""From records to batches of images with objects.

Shapes: B batch, H W image, N objects.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from visionattn.data.dataset import Batch, Sample, SampleDataset, all_unreadable
from visionattn.data.detection.copy_paste import copy_paste
from visionattn.data.detection.masks import Segmentation
from visionattn.data.detection.moved_masks import MANY_PIXELS
from visionattn.data.detection.sources import CocoRecords, SizedImages
from visionattn.data.normalize import Normalize
from visionattn.data.sampling import GlobalBatches, SampleKey, epoch_order
from visionattn.data.seeding import stable_seed
from visionattn.errors import DataError

Edges = tuple[int, int]
Target = dict[str, Tensor]
S = TypeVar("S", bound=SizedImages[Any])


@runtime_checkable
class DrawsMasks(Protocol):
    """A transform that draws the masks of many objects itself, once it knows where they come to lie."""

    def with_masks(
        self, image: Tensor, target: Target, segmentations: Sequence[Segmentation | None]
    ) -> tuple[Tensor, Target]:
        """The transformed image, and its target with ``masks``."""


class CocoDataset(SampleDataset[S]):
    """Images of COCO's layouts. ``read`` says what the targets are."""

    @abstractmethod
    def read(self, index: int) -> tuple[Tensor, Target]:
        """One image, uint8 ``(3, H, W)``, and its target, both transformed.

        Raises:
            UnreadableImage: the image or its target cannot be read.
        """

    def load(self, choice: int, key: SampleKey) -> Sample:
        """One image with its target, its number in the annotations and its original size."""
        image, target = self.read(choice)
        image_id = int(self.records.annotations.image_ids[choice])
        meta = {"image_id": image_id, "original": self.records.size(choice)}
        return Sample(image, target, self.records.ids[choice], meta=meta)


class ObjectDataset(CocoDataset[CocoRecords]):
    """Images with objects. Evaluation reads images only.

    Args:
        records, transform, seed, training: see :class:`visionattn.data.dataset.SampleDataset`.
        paste_probability: of copying objects of another image into this one, in training.
        masks: draw masks, in training.
    """

    def __init__(
        self,
        records: CocoRecords,
        transform: Callable[..., Any],
        seed: int = 0,
        training: bool = False,
        paste_probability: float = 0.0,
        masks: bool = True,
    ) -> None:
        super().__init__(records, transform, seed, training)
        self.masks = masks
        self.paste_probability = paste_probability if training else 0.0

    def read(self, index: int) -> tuple[Tensor, Target]:
        """One image, and in training its boxes, labels and masks."""
        image = self.records.image(index)
        if not self.training:
            return self.transform(image), {}
        if self.masks and self.records.mask_pixels(index) > MANY_PIXELS and isinstance(self.transform, DrawsMasks):
            target = self.records.objects(index, masks=False)
            known = torch.from_numpy(self.records.annotations.has_mask[self.records.rows(index)].copy())
            target |= {} if known.all() else {"has_mask": known}
            return self.transform.with_masks(image, target, self.records.segmentations(index))
        return self.transform(image, self.records.objects(index, self.masks))

    def load(self, choice: int, key: SampleKey) -> Sample:
        """One image with its objects, and perhaps with some of another image."""
        sample = super().load(choice, key)
        if self.training:
            before = self.records.rows(choice)
            sample.meta["objects"] = (before.stop - before.start, len(sample.target["labels"]))
        if self.paste_probability and float(torch.rand(())) < self.paste_probability:
            other = stable_seed(self.seed, *key, "paste") % len(self)
            assert sample.image is not None
            sample.image, sample.target = copy_paste(*self.read(other), sample.image, sample.target)
        return sample


def collate(samples: list[Sample]) -> Batch:
    """Samples to a batch, without the slots that have no image.

    The batch is ``{"image": list of uint8 (3, H, W), "target": list, "original": list of (H, W), "image_id": list,
    "id": list, "unreadable": list of (id, reason)}``, and in training ``"objects"``, the number of objects of each
    image before and after the transform.
    """
    kept = [sample for sample in samples if sample.image is not None]
    return {
        "image": [sample.image for sample in kept],
        "target": [sample.target for sample in kept],
        "original": [sample.meta["original"] for sample in kept],
        "image_id": [sample.meta["image_id"] for sample in kept],
        "id": [sample.sample_id for sample in kept],
        "objects": [sample.meta["objects"] for sample in kept if "objects" in sample.meta],
        "unreadable": all_unreadable(samples),
    }


class NormalizeAndPad:
    """Images to normalized floats, padded with zeros to a common size, and masks padded with them.

    The batch then has ``"image"`` float ``(B, 3, H, W)``, H and W multiples of ``divisor``, and ``"size"``, the
    (height, width) of every image in it. A batch that is a tensor already is left alone.

    Args:
        mean: of every channel.
        std: of every channel.
        divisor: of the padded edges.

    Raises:
        DataError: (on a call) the masks of an image have another size than the image.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], divisor: int = 32) -> None:
        self._normalize = Normalize(mean, std)
        self.divisor = divisor

    def __call__(self, batch: Batch) -> Batch:
        """The batch on the device."""
        images = batch["image"]
        if isinstance(images, Tensor):
            return batch
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        height, width = (
            -(-max((size[axis] for size in sizes), default=1) // self.divisor) * self.divisor for axis in (0, 1)
        )
        device = images[0].device if images else torch.device("cpu")
        stacked = torch.zeros(len(images), 3, height, width, device=device)
        for padded, image in zip(stacked, images, strict=True):
            pixels = image.to(torch.float32).div_(255) if image.dtype == torch.uint8 else image / 1.0
            padded[:, : image.shape[1], : image.shape[2]] = self._normalize.scale(pixels)
        names = batch.get("id") or [f"image {i + 1}" for i in range(len(images))]
        targets = [
            self._padded(target, size, (height, width), name)
            for target, size, name in zip(batch["target"], sizes, names, strict=True)
        ]
        return batch | {"image": stacked, "size": sizes, "target": targets}

    @staticmethod
    def _padded(target: Target, size: Edges, padded: Edges, name: str) -> Target:
        if "masks" not in target:
            return target
        masks = target["masks"]
        if tuple(masks.shape[1:]) == padded == size:
            return target
        if tuple(masks.shape[1:]) != size:
            raise DataError(f"{name}: the transform gave masks of {tuple(masks.shape[1:])} for an image of {size}")
        enlarged = masks.new_zeros(len(masks), *padded)
        enlarged[:, : size[0], : size[1]] = masks
        return target | {"masks": enlarged}


class GroupedBatches(GlobalBatches):
    """Global batches whose images are all wide or all tall, so that little is padded.

    The order of each epoch is :func:`epoch_order`, sorted into the two kinds. Whole batches of each kind come in a
    random order; what is left over fills the last batches. The order is a function of (seed, epoch) alone.

    Args:
        wide: bool ``(num_samples,)``.
        args, kwargs: of :class:`GlobalBatches`, without the number of samples.
    """

    def __init__(self, wide: np.ndarray, *args: Any, **kwargs: Any) -> None:
        super().__init__(len(wide), *args, **kwargs)
        self.wide = wide

    def order(self) -> np.ndarray:
        """Indices of the current epoch in order, int64 ``(num_samples,)``."""
        order, group = epoch_order(self.num_samples, self.seed, self.epoch), self.batch_size * self.world_size
        kinds = [order[self.wide[order]], order[~self.wide[order]]]
        whole = [kind[: len(kind) // group * group].reshape(-1, group) for kind in kinds]
        batches = np.concatenate(whole)
        mixed = np.random.RandomState(stable_seed(self.seed, self.epoch, "groups", bits=32)).permutation(len(batches))
        rest = [kind[len(kind) // group * group :] for kind in kinds]
        return np.concatenate([batches[mixed].reshape(-1), *rest])
