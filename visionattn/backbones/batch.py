"""What a backbone says about an input that is no batch of its images."""

from __future__ import annotations

from torch import Tensor


def check_batch(images: Tensor, channels: int) -> None:
    """Refuse what is no batch of images for a backbone.

    Args:
        images: the input.
        channels: that the backbone was built for.

    Raises:
        TypeError: not a tensor of floats.
        ValueError: another shape than ``(B, channels, H, W)``.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"a backbone takes a tensor of images (B, C, H, W), got {type(images).__name__}")
    shape = tuple(images.shape)
    if images.ndim != 4:
        hint = "; images[None] makes a batch of one image" if images.ndim == 3 else ""
        raise ValueError(f"a backbone takes a batch of images (B, C, H, W), got a tensor of shape {shape}{hint}")
    if images.shape[1] != channels:
        raise ValueError(
            f"this backbone takes images of {channels} channels (B, {channels}, H, W), got a tensor of shape {shape}; "
            "in_chans= builds one for other images"
        )
    if not images.is_floating_point():
        raise TypeError(
            f"a backbone takes normalized floats, got {str(images.dtype).removeprefix('torch.')}: divide by 255 and "
            "normalize with the mean and std of its pretrained_cfg; create_classifier takes images as they are"
        )
