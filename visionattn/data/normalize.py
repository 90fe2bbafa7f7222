"""The last step of a batch, on the device: 8-bit pictures become normalised floats.

Shapes: B batch, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Normalise:
    """uint8 (B, 3, H, W) to float32 ``(x / 255 - mean) / std``, then the rectangles of random erasing.

    A quarter of the bytes goes to the device, and no worker process spends time on arithmetic. Operation by operation
    what torchvision's ToTensor and Normalize do, so the floats are the same to the bit. Pictures that are floats
    already are left alone.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(list(values)).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with float pictures, and without the entry ``erased``."""
        images: Tensor = batch["image"]
        if images.dtype == torch.uint8:
            if self._mean.device != images.device:
                self._mean, self._std = self._mean.to(images.device), self._std.to(images.device)
            images = images.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)
        for index, top, bottom, left, right, pixels in batch.get("erased", ()):
            images[index, :, top:bottom, left:right] = pixels
        return {name: value for name, value in batch.items() if name != "erased"} | {"image": images}
