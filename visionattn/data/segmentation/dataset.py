"""From records to batches of images with label maps.

Shapes: B batch, H W image, h w crop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from visionattn.data.dataset import Batch, Sample, SampleDataset, all_unreadable
from visionattn.data.decode import DecodedImage, decode_fast
from visionattn.data.sampling import SampleKey
from visionattn.data.segmentation.labels import IGNORE, LabelError
from visionattn.data.segmentation.sources.masks import MaskRecords

PairTransform = Callable[[DecodedImage, np.ndarray], tuple[Tensor, Tensor]]


class MaskDataset(SampleDataset[MaskRecords]):
    """Images with label maps.

    A label map that cannot be right is not an unreadable image: its message becomes the sample's fault and stops the
    run.
    """

    def load(self, choice: int, key: SampleKey) -> Sample:
        """One image with its classes."""
        try:
            image, classes = self.records.load(choice, decode_fast)
        except LabelError as error:
            return Sample(None, None, self.records.ids[choice], fault=str(error))
        image, target = self.transform(image, classes)
        return Sample(image, target, self.records.ids[choice])


class MaskCollate:
    """Samples to a batch ``{"image", "target", "id", "unreadable", "faults"}``.

    Slots without an image are left out. In training a slot with a fault holds a black image without labels: the
    processes of a run take that step together, and stop together after it.

    Args:
        size: (h, w) of the crops.
        stacked: for training: uint8 ``(B, C, h, w)`` and ``(B, h, w)``; else lists of uint8 ``(C, H, W)`` and
            ``(H, W)``, of any sizes.
        channels: C.
    """

    def __init__(self, size: tuple[int, int], stacked: bool, channels: int = 3) -> None:
        self.size, self.stacked, self.channels = size, stacked, channels

    def __call__(self, samples: list[Sample]) -> Batch:
        if self.stacked:
            samples = [self._blank(sample) if sample.fault else sample for sample in samples]
        kept = [sample for sample in samples if sample.image is not None]
        images: list[Tensor] = [sample.image for sample in kept if sample.image is not None]
        targets: list[Tensor] = [sample.target for sample in kept]
        batch: Batch = {"image": images, "target": targets}
        if self.stacked:
            batch = {
                "image": torch.stack(images) if kept else torch.zeros(0, self.channels, *self.size, dtype=torch.uint8),
                "target": torch.stack(targets) if kept else torch.zeros(0, *self.size, dtype=torch.uint8),
            }
        return batch | {
            "id": [sample.sample_id for sample in kept],
            "unreadable": all_unreadable(samples),
            "faults": [sample.fault for sample in samples if sample.fault],
        }

    def _blank(self, sample: Sample) -> Sample:
        image = torch.zeros(self.channels, *self.size, dtype=torch.uint8)
        classes = torch.full(self.size, IGNORE, dtype=torch.uint8)
        return Sample(image, classes, sample.sample_id, sample.unreadable, sample.fault)
