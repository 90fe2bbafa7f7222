"""Normalization on the device: 8-bit images become floats.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize:
    """uint8 ``(..., 3, H, W)`` to float32 ``(x / 255 - mean) / std``.

    A quarter of the bytes goes to the device, and no worker process spends time on arithmetic. The operations are
    those of torchvision's ToTensor and Normalize, so the floats are the same to the bit. Images that are floats already
    are left alone.

    Args:
        mean: of every channel.
        std: of every channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(list(values)).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalized images."""
        if images.dtype != torch.uint8:
            return images
        return self.scale(images.to(torch.float32).div_(255))

    def scale(self, images: Tensor) -> Tensor:
        """``(x - mean) / std`` of images with values in 0..1, in place."""
        if self._mean.device != images.device:
            self._mean, self._std = self._mean.to(images.device), self._std.to(images.device)
        return images.sub_(self._mean).div_(self._std)
