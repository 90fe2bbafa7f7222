"""FasterViT: stages with carrier tokens, which stand for a window each; its stem and downsampling.

Hatamizadeh et al. 2023, *FasterViT: Fast Vision Transformers with Hierarchical Attention*, arXiv 2306.06189.

Shapes: B batch, H W map, C channels, rows and columns of windows, c carriers along each side of a window, P tokens of
a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from visionattn.attention.continuous import GridEncoding
from visionattn.attention.mixer import CarrierMixer, MixerFactory, StageContext, declared
from visionattn.attention.padding import fit, from_windows, round_up, to_windows
from visionattn.backbones.stage import BlockFactory, DownsampleFactory, Stage
from visionattn.kernels.convolution import convolve
from visionattn.kernels.norm import LayerNorm


class ResidualBlock(nn.Module):
    """``x + drop(mixer(x))``: for a mixer that declares ``own_norms`` and needs no feed-forward network."""

    def __init__(self, mixer: nn.Module, drop_path: float = 0.0):
        super().__init__()
        self.mixer = mixer
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        return x + self.drop_path(self.mixer(x, context))


class EncodedBlock(nn.Module):
    """Adds to each token its position in its window, then does what ``local`` does.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, H and W multiples of the window.
    """

    def __init__(self, dim: int, window: int, local: nn.Module):
        super().__init__()
        self.window = window
        self.encoding = GridEncoding(dim)
        self.local: Any = local

    @property
    def drop_path(self) -> nn.Module:
        """That of the block inside."""
        return self.local.drop_path

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        rows, columns = x.shape[1] // self.window, x.shape[2] // self.window
        return self.local(x + self.encoding((self.window, self.window)).repeat(rows, columns, 1), context)


class CarrierBlock(nn.Module):
    """First the carriers of all windows among themselves, then each window together with its carriers.

    Both are ordinary blocks (``carrier`` and ``local``). Both kinds of tokens get their positions added before.

    Args:
        dim: channels C.
        mixer: declares ``carriers`` and ``encoded_window``, and is a :class:`visionattn.attention.mixer.CarrierMixer`.
        block: called as ``block(dim, mixer, drop_path=)``.
        drop_path: probability of leaving a branch out for an image.

    Raises:
        TypeError: a mixer that declares carriers and lacks what they need.

    Shape:
        tokens ``(B, rows, columns, P, C)`` and the map of carriers ``(B, c*rows, c*columns, C)`` ``->`` the same.
    """

    def __init__(self, dim: int, mixer: nn.Module, block: BlockFactory, drop_path: float):
        super().__init__()
        self.window, self.per_side = declared(mixer, "encoded_window") or 0, declared(mixer, "carriers") or 0
        if not self.window or not isinstance(mixer, CarrierMixer):
            raise TypeError(
                f"{type(mixer).__name__} declares carriers={self.per_side}; "
                "it also needs encoded_window, with_carriers() and among_carriers()"
            )
        self.encoding, self.carrier_encoding = GridEncoding(dim), GridEncoding(dim)
        self.carrier = block(dim, mixer.among_carriers(), drop_path=drop_path)
        self.local: Any = block(dim, mixer.with_carriers(), drop_path=drop_path)

    @property
    def drop_path(self) -> nn.Module:
        """That of both blocks inside."""
        return self.local.drop_path

    def forward(self, tokens: Tensor, carriers: Tensor) -> tuple[Tensor, Tensor]:
        cell = (self.per_side, self.per_side)
        carriers = self.carrier(carriers + self.carrier_encoding((carriers.shape[1], carriers.shape[2])))
        tokens = tokens + self.encoding((self.window, self.window)).flatten(0, 1)
        front = self.per_side**2
        joint = self.local(torch.cat([to_windows(carriers, cell), tokens], dim=3))
        return joint[..., front:, :], from_windows(joint[..., :front, :], cell)


class CarrierStage(Stage):
    """A stage whose windows are connected by carrier tokens.

    Hatamizadeh et al. 2023, *FasterViT: Fast Vision Transformers with Hierarchical Attention*, arXiv 2306.06189. Its
    blocks depend on what their mixers declare (see :class:`visionattn.attention.Mixer`):

    - ``own_norms``: a residual around the mixer and nothing else;
    - ``encoded_window``: a block that first adds the position inside the window;
    - ``carriers`` as well: hierarchical attention. Each window has c by c carrier tokens, averaged from a depthwise
      convolution of the map when the stage begins. In every block all carriers attend to each other, then every window
      attends to itself and its carriers. After the last block carriers disappear or, with ``propagate``, are added to
      the tokens nearest to them;
    - nothing: the ordinary block.

    Any H and W: the map is enlarged with zeros at the bottom and the right to whole windows, the new tokens take part
    in all blocks, and are cut off at the end, as in the published code for any resolution. Where windows form a square
    this equals that code and, where nothing is added, the code for one resolution. Elsewhere it corrects it: that code
    mixes up the order of the carriers, leaves out their position, and gives them a bias table of another shape; here
    carriers are a map of their own, of any shape. A map of a single window keeps its carriers (published: a model built
    for such a map has none). Drop path leaves out a branch for a whole image, not for single windows.

    Args:
        dim_in, dim, num_heads, mixer, block, drop_path, first, downsample: as for :class:`Stage`.
        propagate: add the carriers to the map after the last block (FasterViT-3 and larger).

    Raises:
        ValueError: some blocks have carriers and others have not.

    Shape:
        ``(B, H, W, dim_in) -> (B, H / stride, W / stride, C)``
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        num_heads: int,
        mixer: MixerFactory,
        block: BlockFactory,
        drop_path: Sequence[float],
        *,
        first: bool = False,
        downsample: DownsampleFactory,
        propagate: bool = False,
    ):
        chosen = partial(_block_around, block)
        super().__init__(dim_in, dim, num_heads, mixer, chosen, drop_path, first=first, downsample=downsample)
        self.propagate = propagate
        self.window = math.lcm(*(declared(b, "window") or 1 for b in self.blocks))
        per_side = {declared(b, "per_side") or 0 for b in self.blocks}
        if len(per_side) != 1:
            raise ValueError(f"all blocks of a stage need as many carriers along a side, got {sorted(per_side)}")
        self.per_side: int = per_side.pop()
        self.tokenizer = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if self.per_side else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        height, width = x.shape[1:3]
        x = fit(x, (round_up(height, self.window), round_up(width, self.window)))
        x = self._hierarchical(x) if self.per_side else self._plain(x)
        return fit(x, (height, width))

    def _plain(self, x: Tensor) -> Tensor:
        context = self.context(x)
        for block in self.blocks:
            x = self._run(block, x, context)
        return x

    def _hierarchical(self, x: Tensor) -> Tensor:
        window = (self.window, self.window)
        carriers, tokens = self.first_carriers(x), to_windows(x, window)
        for block in self.blocks:
            tokens, carriers = self._run(block, tokens, carriers)
        if self.propagate:
            scale: Any = self.blocks[-1].carrier
            tokens = tokens + scale.scale1(self.nearest_carriers(carriers))
        return from_windows(tokens, window)

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        if self.grad_checkpointing and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def first_carriers(self, x: Tensor) -> Tensor:
        """Means of the map over overlapping rectangles: ``(B, H, W, C) -> (B, c*rows, c*columns, C)``.

        The distance between rectangles is that of carriers, rounded down; they are as large as it takes to reach the
        border.
        """
        features = self.tokenizer(x.permute(0, 3, 1, 2))
        along_rows = self.means(features)
        return self.means(along_rows.transpose(2, 3)).permute(0, 3, 2, 1)

    def means(self, x: Tensor) -> Tensor:
        """Means along the last axis, ``(B, C, H, W) -> (B, C, H, carriers)``.

        A product with a matrix that says which token counts in which mean: unlike a pooling layer's, its sizes may be
        unknown when a graph is traced.
        """
        side = x.shape[-1]
        count, stride = side // self.window * self.per_side, self.window // self.per_side
        length = side - (count - 1) * stride
        first = torch.arange(count, device=x.device)[:, None] * stride
        token = torch.arange(side, device=x.device)[None]
        return F.linear(x, ((token >= first) & (token < first + length)).to(x.dtype)) / length

    def nearest_carriers(self, carriers: Tensor) -> Tensor:
        """For each token of each window the carrier whose part of it holds the token: ``(B, rows, columns, P, C)``."""
        cells = to_windows(carriers, (self.per_side, self.per_side)).unflatten(3, (self.per_side, self.per_side))
        part = torch.arange(self.window, device=carriers.device) * self.per_side // self.window
        return cells[:, :, :, part[:, None], part[None]].flatten(3, 4)


def _block_around(block: BlockFactory, dim: int, mixer: nn.Module, *, drop_path: float = 0.0) -> nn.Module:
    """The block that a mixer's declarations ask for; see :class:`CarrierStage`."""
    if declared(mixer, "own_norms"):
        return ResidualBlock(mixer, drop_path)
    if declared(mixer, "carriers"):
        return CarrierBlock(dim, mixer, block, drop_path)
    built = block(dim, mixer, drop_path=drop_path)
    window = declared(mixer, "encoded_window")
    return EncodedBlock(dim, window, built) if window else built


class BatchNormStem(nn.Module):
    """Two 3x3 convolutions of stride 2 without bias, each followed by a batch norm and a ReLU.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.
        hidden_dim: channels between the convolutions.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / 4), ceil(W / 4), C)``
    """

    stride = 4

    def __init__(self, in_chans: int, dim: int, *, hidden_dim: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, hidden_dim, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden_dim, eps=1e-4)
        self.conv2 = nn.Conv2d(hidden_dim, dim, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim, eps=1e-4)
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        x = self.act(self.norm1(self.conv1(image)))
        return self.act(self.norm2(self.conv2(x))).permute(0, 2, 3, 1)


class NormOverlapDownsample(nn.Module):
    """A layer norm, then a 3x3 convolution of stride 2 without bias.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.norm = LayerNorm(dim_in, eps=1e-6)
        self.conv = nn.Conv2d(dim_in, dim, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.conv, self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MapBatchNorm(nn.BatchNorm2d):
    """Batch norm of channels-last maps.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
