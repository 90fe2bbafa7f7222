"""Augmentation of images together with their segments.

Shapes: H W image, n segments, N masks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import tv_tensors

from visionattn.data.detection.transforms import DetectionTrainTransform, Target


class PanopticTrainTransform(DetectionTrainTransform):
    """The augmentation of :class:`DetectionTrainTransform` for an image, uint8 ``(3, H, W)``, with its segments.

    The targets are ``labels`` int64 ``(N,)`` and ``masks`` uint8 ``(N, H, W)``. ``jitter=[0.1, 2.0]`` with
    ``crop_size`` is the large-scale jitter of Mask2Former. The map of all segments is transformed once, instead of a
    mask for each. Crowds are no targets. Segments of which no pixel is left are none either; the published code keeps
    them as masks without a pixel.
    """

    def __call__(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        ids = tv_tensors.Mask(target["ids"][None])
        image, ids = self._steps(tv_tensors.Image(image), ids)
        plain = ids.as_subclass(Tensor)[0]
        count = len(target["labels"])
        left = torch.bincount(plain.reshape(-1), minlength=count + 1)[1:] > 0
        kept = torch.nonzero(left & ~target["crowd"]).reshape(-1)
        masks = (plain[None] == (kept + 1)[:, None, None]).to(torch.uint8)
        return image.as_subclass(Tensor), {"labels": target["labels"][kept], "masks": masks}
