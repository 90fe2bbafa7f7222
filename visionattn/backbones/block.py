"""A block: two residual branches, one around the mixer, one around the feed-forward network.

Norm placement, layer scale and drop path live here once, for every model.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from timm.layers import DropPath, LayerScale
from torch import Tensor, nn

from visionattn.attention.mixer import StageContext
from visionattn.backbones.feed_forward import FeedForward
from visionattn.kernels.norm import LayerNorm

NormFactory = Callable[[int], nn.Module]
FeedForwardFactory = Callable[..., nn.Module]
PositionFactory = Callable[..., nn.Module]
ScaleFactory = Callable[[int], nn.Module]


def layer_norm(dim: int, *, eps: float = 1e-5) -> LayerNorm:
    """A layer norm over channels (Ba et al. 2016, arXiv 1607.06450), for configurations that set its ``eps``."""
    return LayerNorm(dim, eps=eps)


class Block(nn.Module):
    """Pre-norm block: ``x + drop(scale(mixer(norm(x))))``, then the same around the feed-forward network.

    With ``post_norm`` the norm follows its branch, ``x + drop(norm(scale(mixer(x))))``, and starts from zero.

    Args:
        dim: channels C.
        mixer: token mixer, already built.
        mlp_ratio: width of the feed-forward network in multiples of ``dim``.
        ffn: feed-forward factory, called with ``in_features`` and ``hidden_features``.
        norm: norm factory, called with ``dim``.
        position: factory of a layer in front of each branch, called with ``dim`` and ``drop_path`` (a residual
            depthwise convolution tells tokens where they are: Chu et al. 2021, arXiv 2102.10882); or two factories, for
            the layer before the mixer and for the one between mixer and feed-forward network, which is how a block has
            a third residual branch; None: no such layer.
        drop_path: probability of leaving a branch out for a sample (Huang et al. 2016, arXiv 1603.09382).
        layer_scale: initial value of a learned factor per channel on each branch (Touvron et al. 2021, arXiv
            2103.17239); or a factory of such a layer, called with ``dim``; None: no factor.
        post_norm: norm the result of each branch instead of its input, which keeps the activations of deep and wide
            models in bounds (Liu et al. 2021, *Swin Transformer V2*, arXiv 2111.09883).

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        *,
        mlp_ratio: float = 4.0,
        ffn: FeedForwardFactory = FeedForward,
        norm: NormFactory = LayerNorm,
        position: PositionFactory | Sequence[PositionFactory | None] | None = None,
        drop_path: float = 0.0,
        layer_scale: float | ScaleFactory | None = None,
        post_norm: bool = False,
    ):
        super().__init__()
        scale = partial(_scale, dim, layer_scale)
        first, second = position if isinstance(position, Sequence) else (position, position)
        self.position1, self.position2 = (
            make(dim, drop_path=drop_path) if make is not None else nn.Identity() for make in (first, second)
        )
        self.norm1, self.mixer, self.scale1 = norm(dim), mixer, scale()
        self.norm2, self.scale2 = norm(dim), scale()
        self.ffn = ffn(in_features=dim, hidden_features=int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.post_norm = post_norm
        for param in (*self.norm1.parameters(), *self.norm2.parameters()) if post_norm else ():
            nn.init.zeros_(param)

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        x = self.position1(x)
        x = x + self.drop_path(self._mixed(x, context))
        x = self.position2(x)
        return x + self.drop_path(self._fed_forward(x))

    def _mixed(self, x: Tensor, context: StageContext | None) -> Tensor:
        if self.post_norm:
            return self.norm1(self.scale1(self.mixer(x, context)))
        return self.scale1(self.mixer(self.norm1(x), context))

    def _fed_forward(self, x: Tensor) -> Tensor:
        if self.post_norm:
            return self.norm2(self.scale2(self.ffn(x)))
        return self.scale2(self.ffn(self.norm2(x)))


def _scale(dim: int, layer_scale: float | ScaleFactory | None) -> nn.Module:
    if layer_scale is None:
        return nn.Identity()
    return layer_scale(dim) if callable(layer_scale) else LayerScale(dim, init_values=layer_scale)


def blocks_by_stage(
    stages: Mapping[str, Mapping[str, Any]], block: Callable[..., nn.Module] = Block, **shared: Any
) -> dict[str, Callable[..., nn.Module]]:
    """Block factories of stages that differ in some arguments.

    Args:
        stages: stage (``s1``, ``s2``, ...) -> the arguments that its blocks have for themselves.
        block: the block.
        **shared: the arguments of all blocks, see :class:`Block`.

    Returns:
        One factory per stage, for ``HierarchicalBackbone(block=)``.
    """
    return {stage: partial(block, **{**shared, **own}) for stage, own in stages.items()}
