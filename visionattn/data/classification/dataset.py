"""From records to batches of images with labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from visionattn.data.classification.erasing import Erasure
from visionattn.data.dataset import Batch, Sample, SampleDataset, all_unreadable
from visionattn.data.decode import DecodedImage, decode_rgb
from visionattn.data.records import Records
from visionattn.data.sampling import SampleKey

Transform = Callable[[DecodedImage], Tensor]
"""An image to a tensor ``(3, H, W)``: uint8, normalized later on the device, or normalized float32.

A transform may have an attribute ``decode``, which decodes its images (:func:`decode_rgb` otherwise), and a method
``erasures()``, which returns what is erased from the image of the last call.
"""


def decoder_of(transform: Transform) -> Callable[[bytes], DecodedImage]:
    """The decoder that a transform asks for."""
    return getattr(transform, "decode", decode_rgb)


def augmented(transform: Transform, image: DecodedImage, label: int, sample_id: str) -> Sample:
    """The sample of a decoded image."""
    tensor = transform(image)
    draw: Callable[[], list[Erasure]] | None = getattr(transform, "erasures", None)
    return Sample(tensor, label, sample_id, meta={"erased": draw() if draw is not None else []})


class LabelDataset(SampleDataset[Records]):
    """Images with one label each."""

    def load(self, choice: int, key: SampleKey) -> Sample:
        """One image and its label."""
        return self.transformed(choice, self.transform)

    def transformed(self, choice: int, transform: Transform) -> Sample:
        """One image, decoded and changed as a transform says, and its label."""
        decode = partial(self.records.decoding, base=decoder_of(transform))
        image = self.records.load(choice, decode)
        return augmented(transform, image, int(self.records.labels[choice]), self.records.ids[choice])


class LabelCollate:
    """Samples to a batch.

    The batch is ``{"image": (B, C, H, W), "target": int64 (B,), "id": list, "unreadable": list of (id, reason),
    "erased": list of (position in the batch, *Erasure)}``. Slots without an image are left out, so B may be smaller
    than the number of slots, even 0.
    """

    def __init__(self, size: tuple[int, int], channels: int = 3) -> None:
        self.size, self.channels = size, channels

    def __call__(self, samples: list[Sample]) -> Batch:
        kept = [sample for sample in samples if sample.image is not None]
        images = [sample.image for sample in kept if sample.image is not None]
        erased: list[tuple[Any, ...]] = [
            (position, *erasure) for position, sample in enumerate(kept) for erasure in sample.meta.get("erased", ())
        ]
        return {
            "image": torch.stack(images) if images else torch.zeros(0, self.channels, *self.size, dtype=torch.uint8),
            "target": torch.tensor([sample.target for sample in kept], dtype=torch.int64),
            "id": [sample.sample_id for sample in kept],
            "unreadable": all_unreadable(samples),
            "erased": erased,
        }


def erase(images: Tensor, erased: list[tuple[Any, ...]]) -> Tensor:
    """Paint the rectangles of random erasing into normalized images, in place.

    Args:
        images: float ``(B, 3, H, W)``.
        erased: as in the batch of :class:`LabelCollate`.
    """
    for index, top, bottom, left, right, pixels in erased:
        images[index, :, top:bottom, left:right] = pixels
    return images
