"""Augmentation of images together with their boxes and masks, with torchvision's v2 transforms.

Shapes: H W image, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from visionattn.data.detection.masks import Segmentation
from visionattn.data.detection.moved_masks import coordinates, draw_moved
from visionattn.data.image_size import ImageSize
from visionattn.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from visionattn.errors import ConfigError

Target = dict[str, Any]
Segmentations = Sequence[Segmentation | None]
SHORT_EDGES = tuple(range(480, 801, 32))


class DetectionTrainTransform:
    """Random resizing, cropping and flipping of an image, uint8 ``(3, H, W)``, with its objects.

    Without ``jitter`` the shorter edge becomes one of ``short_edges`` and the longer one stays below ``long_edge`` (480
    to 800 and 1333 in the papers' 3x schedule, 800 alone in 1x). With ``jitter`` the image is scaled by a random factor
    of ``crop_size``, then cut or padded to exactly that: large-scale jitter (Ghiasi et al. 2020, arXiv 2012.07177).
    Boxes are clipped. Objects of which less than one pixel is left are removed.

    Args:
        image_size: not used; given to all transforms.
        mean: not used.
        std: not used.
        short_edges: lengths of the shorter edge.
        long_edge: limit of the longer edge.
        crop: in half of the cases scale first to a shorter edge of 400, 500 or 600 and cut, as in DETR (Carion et al.
            2020, arXiv 2005.12872) and in Swin's 3x schedule.
        jitter: smallest and largest factor, e.g. (0.1, 2.0).
        crop_size: (height, width) of large-scale jitter.
        flip: probability.
        vertical_flip: probability.

    Raises:
        ConfigError: edges or factors that contradict each other.
    """

    def __init__(
        self,
        image_size: ImageSize | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        short_edges: Sequence[int] = SHORT_EDGES,
        long_edge: int = 1333,
        crop: bool = False,
        jitter: Sequence[float] | None = None,
        crop_size: Sequence[int] = (1024, 1024),
        flip: float = 0.5,
        vertical_flip: float = 0.0,
    ) -> None:
        if not short_edges or min(short_edges) < 1 or long_edge < max(short_edges):
            raise ConfigError(
                f"short_edges need a number of pixels, none above long_edge, got {list(short_edges)} and {long_edge}"
            )
        if jitter is not None and not 0 < jitter[0] <= jitter[1]:
            raise ConfigError(f"jitter is [smallest, largest] factor, got {list(jitter)}")
        steps: list[Any] = []
        resize = v2.RandomShortestSize(list(short_edges), max_size=long_edge, antialias=True)
        if jitter is not None:
            size = (int(crop_size[0]), int(crop_size[1]))
            steps += [v2.ScaleJitter(size, scale_range=(jitter[0], jitter[1]), antialias=True)]
            steps += [v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Image: 114, "others": 0})]
        elif crop:
            cut = v2.Compose([v2.RandomShortestSize([400, 500, 600], antialias=True), _RangeCrop(384, 600), resize])
            steps += [v2.RandomChoice([resize, cut])]
        else:
            steps += [resize]
        steps += [v2.RandomHorizontalFlip(flip), v2.RandomVerticalFlip(vertical_flip)]
        self._steps = v2.Compose(steps)

    def __call__(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        image, target = self._steps(tv_tensors.Image(image), target)
        return image.as_subclass(Tensor), keep_visible(target)

    def with_masks(self, image: Tensor, target: Target, segmentations: Segmentations) -> tuple[Tensor, Target]:
        """The same for objects whose masks are not drawn yet; see :mod:`visionattn.data.detection.moved_masks`."""
        size = (int(image.shape[-2]), int(image.shape[-1]))
        moved, target = self._steps(tv_tensors.Image(image), target | {"places": coordinates(*size)})
        places = target.pop("places").as_subclass(Tensor)
        target["masks"] = draw_moved(segmentations, size, places)
        return moved.as_subclass(Tensor), keep_visible(target)


class DetectionEvalTransform:
    """Resizing of an image, uint8 ``(3, H, W)``, without randomness.

    The shorter edge becomes ``short_edge`` unless the longer one would exceed ``long_edge``.

    Args:
        image_size: not used; given to all transforms.
        mean: of every channel, for the protocol.
        std: of every channel, for the protocol.
        short_edge: length of the shorter edge.
        long_edge: limit of the longer edge.

    Raises:
        ConfigError: ``short_edge`` is not in 1..long_edge.
    """

    def __init__(
        self,
        image_size: ImageSize | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        short_edge: int = 800,
        long_edge: int = 1333,
    ) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self.short_edge, self.long_edge = short_edge, long_edge
        if not 0 < short_edge <= long_edge:
            raise ConfigError(f"short_edge must lie in 1..long_edge, got {short_edge} and {long_edge}")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the resized image."""
        factor = min(self.short_edge / min(height, width), self.long_edge / max(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))

    def __call__(self, image: Tensor) -> Tensor:
        return F.resize(image, list(self.size(*image.shape[1:])), antialias=True)

    def describe(self) -> dict[str, Any]:
        """The protocol, for the evaluation's result file."""
        return {
            "short_edge": self.short_edge,
            "long_edge": self.long_edge,
            "interpolation": "bilinear, antialiased",
            "mean": list(self.mean),
            "std": list(self.std),
        }


class _RangeCrop(torch.nn.Module):
    """A random crop. Each edge is drawn between two bounds, or is the image's own where that is smaller."""

    def __init__(self, smallest: int, largest: int) -> None:
        super().__init__()
        self.smallest, self.largest = smallest, largest

    def forward(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        size = [_between(min(edge, self.smallest), min(edge, self.largest)) for edge in image.shape[-2:]]
        return v2.RandomCrop(size)(image, target)


def _between(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


def keep_visible(target: Target, least: float = 1.0) -> Target:
    """Clip the boxes, and remove objects narrower or lower than ``least`` pixels, or without a pixel of their mask."""
    boxes = F.clamp_bounding_boxes(target["boxes"]).as_subclass(Tensor)
    keep = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)
    if "masks" in target:
        seen = target["masks"].as_subclass(Tensor).flatten(1).any(1).bool()
        keep &= seen | ~target["has_mask"] if "has_mask" in target else seen
    others = [name for name in ("labels", "masks", "has_mask") if name in target]
    if keep.all():
        return {"boxes": boxes} | {name: target[name].as_subclass(Tensor) for name in others}
    return {"boxes": boxes[keep]} | {name: target[name].as_subclass(Tensor)[keep] for name in others}
