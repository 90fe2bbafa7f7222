"""Augmentation of an image together with its label map, with torchvision's operators.

Shapes: H W image, h w crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from visionattn.data.decode import DecodedImage, as_tensor
from visionattn.data.image_size import ImageSize, as_size
from visionattn.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from visionattn.data.options import check_shares
from visionattn.data.segmentation.labels import IGNORE
from visionattn.errors import ConfigError

CROP_ATTEMPTS = 10


def keep_ratio(size: tuple[int, int], short: int | None, long: int | None) -> float:
    """The factor that scales an image of (H, W) to a shorter edge ``short`` and a longer one of ``long`` at most."""
    factors = [bound / edge for bound, edge in ((short, min(size)), (long, max(size))) if bound is not None]
    return min(factors, default=1.0)


class SegmentationTrainTransform:
    """Image and label map to a crop, uint8 ``(3, h, w)`` and uint8 ``(h, w)``, from torch's random state.

    The recipe is that of the backbone papers (mmsegmentation's). The image is scaled to its base size times a random
    factor. A crop is taken in which no class fills more than ``category_ratio``. It is flipped, and its colors are
    distorted. An image smaller than the crop is filled with the mean color and ignored labels.

    Only the part that the crop shows is resized, which saves most of the work. The edges of the crop lie on whole
    pixels of the original. The resizing is antialiased; that of the published code is not.

    Args:
        image_size: the crop.
        mean: of every channel; the color of the filling.
        std: of every channel; not used.
        short_edge: base size, that of evaluation; None: the image's own size.
        long_edge: limit of the longer edge; None: no limit.
        scale: bounds of the random factor.
        category_ratio: 1 switches the limit off.
        flip: probability.
        distortion: probability of each of the four color distortions; 0: none.
        vertical_flip: probability of turning the crop upside down.
        transpose: probability of exchanging the axes, for images without an up and a down.

    Raises:
        ConfigError: impossible values, or exchanging the axes of a crop that is not square.
    """

    def __init__(
        self,
        image_size: ImageSize,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        short_edge: int | None = 512,
        long_edge: int | None = 2048,
        scale: Sequence[float] = (0.5, 2.0),
        category_ratio: float = 0.75,
        flip: float = 0.5,
        distortion: float = 0.5,
        vertical_flip: float = 0.0,
        transpose: float = 0.0,
    ) -> None:
        low, high = (float(bound) for bound in scale)
        if not 0 < low <= high:
            raise ConfigError(f"scale is two factors, 0 < low <= high, got {list(scale)}")
        if not 0 < category_ratio <= 1:
            raise ConfigError(f"category_ratio must lie in (0, 1], got {category_ratio}")
        turns = {"flip": flip, "vertical_flip": vertical_flip, "transpose": transpose}
        check_shares("data.train_transform", **turns, distortion=distortion)
        self.size, self.short_edge, self.long_edge = as_size(image_size), short_edge, long_edge
        self.scale, self.category_ratio, self.flip = (low, high), category_ratio, flip
        if transpose and self.size[0] != self.size[1]:
            raise ConfigError(f"the axes of a crop of {self.size[0]} x {self.size[1]} cannot be exchanged: transpose=0")
        self.vertical_flip, self.transpose = vertical_flip, transpose
        self.distort = PhotometricDistortion(distortion)
        self.fill = [round(255 * value) for value in mean]

    def __call__(self, image: DecodedImage, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        pixels, classes = tv_tensors.Image(as_tensor(image)), tv_tensors.Mask(torch.from_numpy(labels))
        height, width = labels.shape
        factor = keep_ratio((height, width), self.short_edge, self.long_edge) * _uniform(*self.scale)
        shown = [min(edge, max(round(crop / factor), 1)) for edge, crop in zip((height, width), self.size, strict=True)]
        target = [min(crop, max(round(edge * factor), 1)) for edge, crop in zip(shown, self.size, strict=True)]
        top, left = self._corner(labels, shown)
        pixels = F.resized_crop(pixels, top, left, *shown, size=target, antialias=True)
        classes = F.resized_crop(classes, top, left, *shown, size=target)
        if torch.rand(()) < self.flip:
            pixels, classes = F.horizontal_flip(pixels), F.horizontal_flip(classes)
        pixels = self.distort(pixels)
        padding = [0, 0, self.size[1] - target[1], self.size[0] - target[0]]
        if any(padding):
            pixels = F.pad(pixels, padding, fill=self.fill)
            classes = F.pad(classes, padding, fill=IGNORE)
        return self._turned(pixels.as_subclass(Tensor), classes.as_subclass(Tensor))

    def _turned(self, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        if self.vertical_flip and torch.rand(()) < self.vertical_flip:
            image, classes = image.flip(-2), classes.flip(-2)
        if self.transpose and torch.rand(()) < self.transpose:
            image, classes = image.mT, classes.mT
        return image, classes

    def _corner(self, labels: np.ndarray, shown: Sequence[int]) -> tuple[int, int]:
        """Corner of a crop of ``shown`` pixels; the last of ten if each shows too much of one class."""
        for attempt in range(CROP_ATTEMPTS):
            top, left = (
                int(torch.randint(edge - length + 1, ())) for edge, length in zip(labels.shape, shown, strict=True)
            )
            if self.category_ratio == 1 or attempt == CROP_ATTEMPTS - 1:
                break
            counts = np.bincount(labels[top : top + shown[0], left : left + shown[1]].reshape(-1), minlength=IGNORE + 1)
            counts = counts[:IGNORE]
            # as published: one class alone does not pass, an empty crop does not either
            if (counts > 0).sum() > 1 and counts.max() < self.category_ratio * counts.sum():
                break
        return top, left


class PhotometricDistortion:
    """Random brightness, contrast, saturation and hue (Liu et al. 2015, *SSD*, arXiv 1512.02325).

    Each has probability ``p``; contrast comes before or after saturation and hue. As in mmsegmentation, brightness is
    added (up to 32 of 255), contrast is a factor (0.5 to 1.5), and hue turns by up to a tenth of the circle. Saturation
    (0.5 to 1.5) blends with gray, where mmsegmentation multiplies the S of HSV. Images of other than one or three
    channels have brightness and contrast alone.

    Args:
        p: the probability.

    Raises:
        ConfigError: ``p`` is no probability.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"distortion is a probability, got {p}")
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        if not self.p:
            return image
        if self._happens():
            shifted = image.to(torch.int16) + round(_uniform(-32, 32))
            image = tv_tensors.wrap(shifted.clamp(0, 255).to(torch.uint8), like=image)
        if image.shape[-3] not in (1, 3):
            return self._contrast(image)
        contrast = F.adjust_brightness  # a factor on the values is what torchvision calls brightness
        late = torch.rand(()) < 0.5
        if not late and self._happens():
            image = contrast(image, _uniform(0.5, 1.5))
        if self._happens():
            image = F.adjust_saturation(image, _uniform(0.5, 1.5))
        if self._happens():
            image = F.adjust_hue(image, _uniform(-0.1, 0.1))
        if late and self._happens():
            image = contrast(image, _uniform(0.5, 1.5))
        return image

    def _contrast(self, image: Tensor) -> Tensor:
        """Contrast alone, of images whose channels are no colors."""
        if not self._happens():
            return image
        values = (image.to(torch.float32) * _uniform(0.5, 1.5)).round_().clamp_(0, 255)
        return tv_tensors.wrap(values.to(torch.uint8), like=image)

    def _happens(self) -> bool:
        return bool(torch.rand(()) < self.p)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


class SegmentationEvalTransform:
    """Image and label map as they are, uint8 ``(3, H, W)`` and ``(H, W)``.

    The task's inference scales, flips and cuts into windows; it scores at the original size.

    Args:
        image_size: of the crops, for the protocol.
        mean: of every channel.
        std: of every channel.
    """

    def __init__(
        self, image_size: ImageSize, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        self.size, self.mean, self.std = as_size(image_size), tuple(mean), tuple(std)

    def __call__(self, image: DecodedImage, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return as_tensor(image), torch.from_numpy(labels)

    def describe(self) -> dict[str, Any]:
        """The protocol, for result files."""
        return {"size": list(self.size), "mean": list(self.mean), "std": list(self.std), "scored_at": "original size"}
