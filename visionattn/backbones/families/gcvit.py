"""The convolutional parts of GC ViT: stem, downsampling, and the stage that asks one global query per image.

Hatamizadeh et al. 2022, *Global Context Vision Transformers*, arXiv 2206.09959.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import StageContext, declared
from visionattn.backbones.squeeze_excite import SqueezeExcite
from visionattn.backbones.stage import Stage
from visionattn.kernels.convolution import convolve
from visionattn.kernels.folding import SameConv, conv_gelu, pointwise
from visionattn.kernels.linear import convolution_layout
from visionattn.kernels.norm import LayerNorm


class FusedMBConv(nn.Module):
    """``x`` plus depthwise 3x3 convolution, GELU, squeeze-and-excitation, 1x1 convolution; no norms, no biases.

    Shape:
        ``(B, C, H, W) -> (B, C, H, W)``
    """

    def __init__(self, dim: int):
        super().__init__()
        self.depthwise = SameConv(dim, dim, groups=dim, bias=False)
        self.act = nn.GELU()
        self.gate = SqueezeExcite(dim, rd_channels=dim // 4, bias=False, act_layer=nn.GELU)
        self.project = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + pointwise(self.project, self.gate(conv_gelu(self.depthwise, x, self.act)))


class GCViTDownsample(nn.Module):
    """A norm, a :class:`FusedMBConv`, a 3x3 convolution of stride 2 without bias, a norm.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.norm1 = LayerNorm(dim_in)
        self.mbconv = FusedMBConv(dim_in)
        self.conv = nn.Conv2d(dim_in, dim, 3, stride=2, padding=1, bias=False)
        self.norm2 = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mbconv(self.norm1(x).permute(0, 3, 1, 2))
        return self.norm2(convolve(self.conv, x).permute(0, 2, 3, 1))


class GCViTStem(nn.Module):
    """A 3x3 convolution of stride 2, then a :class:`GCViTDownsample` of the same width.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / 4), ceil(W / 4), C)``
    """

    stride = 4

    def __init__(self, in_chans: int, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, dim, 3, stride=2, padding=1)
        self.down = GCViTDownsample(dim, dim)

    def forward(self, image: Tensor) -> Tensor:
        image = convolution_layout(self, image)
        return self.down(convolve(self.conv1, image).permute(0, 2, 3, 1))


class GlobalQuery(nn.Module):
    """The small map of the whole image that every window of a stage asks with.

    As many times as it is to be halved: a :class:`FusedMBConv`, then a 3x3 maximum of stride 2; at least one
    :class:`FusedMBConv`.

    Args:
        dim: channels C.
        halvings: how often the map is halved: from 56 to 7 is 3 times.

    Shape:
        ``(B, H, W, C) -> (B, ceil(H / 2**halvings), ceil(W / 2**halvings), C)``
    """

    def __init__(self, dim: int, *, halvings: int):
        super().__init__()
        self.halvings = halvings
        self.blocks = nn.ModuleList(FusedMBConv(dim) for _ in range(max(halvings, 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x)
            if self.halvings:
                x = F.max_pool2d(x, 3, stride=2, padding=1)
        return x.permute(0, 2, 3, 1)


class GCViTStage(Stage):
    """A stage whose blocks share the global query of the map that enters them: ``StageContext.tokens``.

    It is computed if some mixer declares ``halvings`` (see :class:`visionattn.attention.Mixer`), with that many
    halvings. The published models end at exactly one window: at 224 pixels the maps of 56, 28, 14 and 7 tokens become
    7, 7, 14 and 7. At other sizes the query has another size, and the mixer resizes it to its window.

    Args:
        *args: see :class:`Stage`.
        **kwargs: see :class:`Stage`.

    Raises:
        ValueError: mixers that declare different numbers of halvings.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        asked = {halvings for module in self.modules() if (halvings := declared(module, "halvings")) is not None}
        if len(asked) > 1:
            raise ValueError(f"the mixers of a stage share one global query, but ask for {sorted(asked)} halvings")
        self.global_query = GlobalQuery(self.dim, halvings=asked.pop()) if asked else None

    def context(self, x: Tensor) -> StageContext:
        tokens = None if self.global_query is None else self.global_query(x)
        return replace(super().context(x), tokens=tokens)
