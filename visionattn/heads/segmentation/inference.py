"""From images of any size to class maps of that size: whole or by sliding windows, at one scale or at several.

Shapes: B batch, C channels, K classes, H W original image, h w the network's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.errors import ConfigError
from visionattn.heads.segmentation.layers import resize

Network = Callable[[Tensor], Tensor]
MODES = ("whole", "slide")
_CHUNK_BYTES = 16 * 2**20


class Inference:
    """The evaluation protocol of the backbone papers (mmsegmentation's).

    An image is resized to its base size, the network's logits to the network's input size and then to the image's own.
    Several scales and flips are averaged as probabilities, at the image's own size.

    Differs from the published code in the resizing of images, which is antialiased and happens on the device.

    Args:
        mode: ``whole``: the image in one piece; ``slide``: overlapping windows, whose logits are averaged.
        crop: height and width of the windows, or one number.
        stride: step of the windows, likewise.
        short_edge, long_edge: base size: the shorter edge, unless the longer one would pass its bound; None: no bound.
        scales: factors on the base size.
        flip: also the mirrored image, at every scale.
        window_batch: windows in one pass of the network.

    Raises:
        ConfigError: values that make no sense.
    """

    def __init__(
        self,
        mode: str = "whole",
        crop: int | Sequence[int] = 512,
        stride: int | Sequence[int] = 341,
        short_edge: int | None = 512,
        long_edge: int | None = 2048,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        window_batch: int = 8,
    ):
        self.mode, self.crop, self.stride = mode, _pair(crop), _pair(stride)
        self.short_edge, self.long_edge = short_edge, long_edge
        self.scales, self.flip, self.window_batch = [float(scale) for scale in scales], flip, window_batch
        if mode not in MODES:
            raise ConfigError(f"inference mode is one of {', '.join(MODES)}, got {mode!r}")
        if not self.scales or min(self.scales) <= 0:
            raise ConfigError(f"inference needs scales above 0, got {self.scales}")
        if mode == "slide" and any(step > edge for step, edge in zip(self.stride, self.crop, strict=True)):
            raise ConfigError(f"windows of {self.crop} with stride {self.stride} leave gaps; stride is 1..crop")
        if window_batch < 1:
            raise ConfigError(f"window_batch must be at least 1, got {window_batch}")

    def describe(self) -> dict[str, Any]:
        """The protocol, for result files."""
        windows = {"crop": list(self.crop), "stride": list(self.stride)} if self.mode == "slide" else {}
        base = {"short_edge": self.short_edge, "long_edge": self.long_edge}
        return {"mode": self.mode, **windows, **base, "scales": self.scales, "flip": self.flip}

    def __call__(self, network: Network, images: Sequence[Tensor]) -> list[Tensor]:
        """Scores of every image.

        Args:
            network: ``(B, C, h, w)`` to logits ``(B, K, ., .)`` of any stride.
            images: normalized images ``(C, H, W)``.

        Returns:
            for each image logits ``(K, h, w)`` at the network's input size, or, of several scales or flips, the
            logarithm of the mean probabilities ``(K, H, W)``; :func:`class_map` reads both.
        """
        if self.scales == [1.0] and not self.flip:
            return self._at_scale(network, images, 1.0)
        return [self._averaged(network, image) for image in images]

    def _at_scale(self, network: Network, images: Sequence[Tensor], scale: float) -> list[Tensor]:
        inputs = [self.scaled(image, scale) for image in images]
        if self.mode == "slide":
            return [self._slide(network, image) for image in inputs]
        scores = dict[int, Tensor]()
        for size in {tuple(image.shape[-2:]) for image in inputs}:  # images of one size share a pass
            same = [i for i, image in enumerate(inputs) if tuple(image.shape[-2:]) == size]
            logits = network(torch.stack([inputs[i] for i in same])).float()
            for i, one in zip(same, logits, strict=True):
                scores[i] = resize(one[None], size)[0]
        return [scores[i] for i in range(len(inputs))]

    def scaled(self, image: Tensor, scale: float) -> Tensor:
        """An image ``(C, H, W)`` at its base size times ``scale``, ``(C, h, w)``."""
        height, width = image.shape[-2:]
        bounds = ((self.short_edge, min(height, width)), (self.long_edge, max(height, width)))
        factor = scale * min((bound / edge for bound, edge in bounds if bound is not None), default=1.0)
        size = (max(round(height * factor), 1), max(round(width * factor), 1))
        if size == (height, width):
            return image
        return F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]

    def _slide(self, network: Network, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        window = (min(self.crop[0], height), min(self.crop[1], width))
        corners = [
            (top, left)
            for top in starts(height, window[0], self.stride[0])
            for left in starts(width, window[1], self.stride[1])
        ]
        total: Tensor | None = None
        count = image.new_zeros(1, height, width)
        for first in range(0, len(corners), self.window_batch):
            part = corners[first : first + self.window_batch]
            crops = torch.stack([image[:, top : top + window[0], left : left + window[1]] for top, left in part])
            logits = network(crops).float()
            for (top, left), one in zip(part, logits, strict=True):
                if total is None:
                    total = one.new_zeros(one.shape[0], height, width)
                total[:, top : top + window[0], left : left + window[1]] += resize(one[None], window)[0]
                count[:, top : top + window[0], left : left + window[1]] += 1
        assert total is not None
        return total / count

    def _averaged(self, network: Network, image: Tensor) -> Tensor:
        size = tuple(image.shape[-2:])
        total: Tensor | None = None
        for scale in self.scales:
            for mirrored in (False, True) if self.flip else (False,):
                view = image.flip(-1) if mirrored else image
                scores = resize(self._at_scale(network, [view], scale)[0][None], size)[0].softmax(0)
                scores = scores.flip(-1) if mirrored else scores
                total = scores if total is None else total.add_(scores)
        assert total is not None
        mean = total / (len(self.scales) * (1 + self.flip))
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def starts(edge: int, window: int, stride: int) -> list[int]:
    """Where windows begin along an edge; the last one ends with the edge."""
    count = max(edge - window + stride - 1, 0) // stride + 1
    return [min(i * stride, edge - window) for i in range(count)]


def class_map(scores: Tensor, size: Sequence[int]) -> Tensor:
    """The most probable class of every pixel.

    The scores are resized a few classes at a time, so that the memory does not grow with their number.

    Args:
        scores: ``(K, h, w)``.
        size: (H, W).

    Returns:
        int64 ``(H, W)``; of equal scores the lower class.
    """
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores.argmax(0)
    step = max(1, _CHUNK_BYTES // (4 * size[0] * size[1]))
    best, classes = None, None
    for first in range(0, len(scores), step):
        value, index = resize(scores[None, first : first + step], size)[0].max(0)
        if best is None or classes is None:
            best, classes = value, index
        else:
            better = value > best
            classes = torch.where(better, index + first, classes)
            best = torch.where(better, value, best)
    assert classes is not None
    return classes


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(int(part) for part in value)
    if len(pair) != 2 or min(pair) < 1:
        raise ConfigError(f"a window is one number or [height, width], all positive, got {value}")
    return pair
