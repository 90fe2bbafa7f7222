"""The pieces that the decoders share.

Shapes: B batch, C channels, H W map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.errors import ConfigError
from visionattn.kernels.geometry import certainly

if TYPE_CHECKING:
    from jaxtyping import Float


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU. Without a stride the map keeps its size."""

    def __init__(self, dim_in: int, dim: int, kernel_size: int = 1, *, stride: int = 1, padding: int | None = None):
        margin = kernel_size // 2 if padding is None else padding
        conv = nn.Conv2d(dim_in, dim, kernel_size, stride=stride, padding=margin, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(dim), nn.ReLU(inplace=True))


class Classify(nn.Sequential):
    """Dropout of whole channels, then a 1x1 convolution to the classes."""

    def __init__(self, dim: int, num_classes: int, drop_rate: float):
        conv = nn.Conv2d(dim, num_classes, 1)
        nn.init.normal_(conv.weight, std=0.01)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        super().__init__(nn.Dropout2d(drop_rate), conv)


def resize(x: Float[Tensor, "B C _ _"], size: Sequence[int]) -> Float[Tensor, "B C {size[0]} {size[1]}"]:
    """Bilinear, pixel centers aligned (``align_corners=False``), to the size (H, W)."""
    (height, width), (rows, columns) = x.shape[-2:], size
    if certainly(height == rows) and certainly(width == columns):
        return x
    return F.interpolate(x, size=[rows, columns], mode="bilinear")


def refuse_single_image(decoder: nn.Module, name: str, images: int) -> None:
    """Check that a decoder which takes a mean over the whole map is not trained on one image alone.

    Args:
        decoder: the decoder.
        name: for the message.
        images: of the batch, as ``x.shape[0]``; ``len(x)`` would fix the batch of a graph that is traced.

    Raises:
        ConfigError: it is: the batch norm of this mean has one value to normalize.
    """
    if decoder.training and images == 1 and any(isinstance(module, nn.BatchNorm2d) for module in decoder.modules()):
        raise ConfigError(
            f"{name} pools to one cell, which batch norm cannot normalize for a single image: train with at least "
            "two images per process (data.batch_size=2), or several processes and +trainer.sync_batchnorm=true"
        )
