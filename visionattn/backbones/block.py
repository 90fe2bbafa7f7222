"""A block: residual branches one after the other, around the mixer, around the feed-forward network, and others.

Norm placement, layer scale and drop path live here once, for every model.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from timm.layers import DropPath, LayerScale
from torch import Tensor, nn

from visionattn.attention.mixer import MixerFactory, StageContext, declared, takes_heads
from visionattn.backbones.feed_forward import FeedForward
from visionattn.kernels.norm import LayerNorm, with_norm

NormFactory = Callable[[int], nn.Module]
FeedForwardFactory = Callable[..., nn.Module]
BranchFactory = Callable[..., nn.Module]
OWN_BRANCHES = ("mixer", "ffn")
"""The branches that every block has."""
_OTHER_PARTS = ("norm1", "scale1", "norm2", "scale2", "drop_path", "post_norm", "branches")
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
        branches: all residual branches by name, in their order. ``mixer`` and ``ffn`` are the two above and have no
            value; of any other the value is the factory, called with ``dim`` and ``drop_path``, of a module that gives
            ``x`` plus its branch; if it declares ``takes_heads``, with ``num_heads`` as well. Names are those of the
            weights.
        position: short for ``branches`` with ``position1`` before the mixer and ``position2`` before the feed-forward
            network, both by this factory (a residual depthwise convolution tells tokens where they are: Chu et al.
            2021, arXiv 2102.10882). Older configurations have two factories here, or None for one of them.
        drop_path: probability of leaving a branch out for a sample (Huang et al. 2016, arXiv 1603.09382).
        layer_scale: initial value of a learned factor per channel on each branch (Touvron et al. 2021, arXiv
            2103.17239); or a factory of such a layer, called with ``dim``; None: no factor.
        num_heads: heads of the stage, for the branches that have some; None: no branch has.
        post_norm: norm the result of each branch instead of its input, which keeps the activations of deep and wide
            models in bounds (Liu et al. 2021, *Swin Transformer V2*, arXiv 2111.09883).

    Raises:
        ValueError: ``branches`` without ``mixer`` or ``ffn``, a name of another part, a branch that has heads without
            ``num_heads``, or ``branches`` and ``position``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    takes_heads = True

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        *,
        mlp_ratio: float = 4.0,
        ffn: FeedForwardFactory = FeedForward,
        norm: NormFactory = LayerNorm,
        branches: Mapping[str, BranchFactory | None] | None = None,
        position: BranchFactory | Sequence[BranchFactory | None] | None = None,
        drop_path: float = 0.0,
        layer_scale: float | ScaleFactory | None = None,
        num_heads: int | None = None,
        post_norm: bool = False,
    ):
        super().__init__()
        scale = partial(_scale, dim, layer_scale)
        if branches is not None and position is not None:
            raise ValueError("branches name all layers of a block: position cannot be given beside them")
        self._order = self._add(
            _with_positions(position) if branches is None else branches, num_heads, dim=dim, drop_path=drop_path
        )
        self.norm1, self.mixer, self.scale1 = norm(dim), mixer, scale()
        self.norm2, self.scale2 = norm(dim), scale()
        self.ffn = ffn(in_features=dim, hidden_features=int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.post_norm = post_norm
        for param in (*self.norm1.parameters(), *self.norm2.parameters()) if post_norm else ():
            nn.init.zeros_(param)

    def _add(self, branches: Mapping[str, BranchFactory | None], heads: int | None, **given: Any) -> tuple[str, ...]:
        """Build the branches that are not the block's own; returns the order of all."""
        if any(branches.get(name, ...) is not None for name in OWN_BRANCHES):
            raise ValueError(f"the branches of a block hold mixer and ffn without a value, got {dict(branches)}")
        for name, make in branches.items():
            if make is None and name not in OWN_BRANCHES:
                raise ValueError(f"the branch {name} of a block has no factory; only mixer and ffn need none")
            if make is not None:
                if name in _OTHER_PARTS or hasattr(self, name):
                    raise ValueError(f"a block has a part {name} already: its branch needs another name")
                if takes_heads(make) and heads is None:
                    raise ValueError(f"the branch {name} of a block has heads: the block needs num_heads")
                self.add_module(name, make(**given, **({"num_heads": heads} if takes_heads(make) else {})))
        return tuple(branches)

    @property
    def branches(self) -> tuple[str, ...]:
        """The names of the residual branches, in their order."""
        return self._order

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        for name in self._order:
            if name == "mixer":
                x, mixed = self._mixed(x, context)
                x = x + self.drop_path(mixed)
            elif name == "ffn":
                x, fed = self._fed_forward(x)
                x = x + self.drop_path(fed)
            else:
                branch = getattr(self, name)
                x = branch(x, context) if declared(branch, "takes_context") else branch(x)
        return x

    def _mixed(self, x: Tensor, context: StageContext | None) -> tuple[Tensor, Tensor]:
        """x, and what is added to it."""
        if self.post_norm:
            return x, self.norm1(self.scale1(self.mixer(x, context)))
        x, normed = with_norm(x, self.norm1)
        return x, self.scale1(self.mixer(normed, context))

    def _fed_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.post_norm:
            return x, self.norm2(self.scale2(self.ffn(x)))
        x, normed = with_norm(x, self.norm2)
        return x, self.scale2(self.ffn(normed))


def _scale(dim: int, layer_scale: float | ScaleFactory | None) -> nn.Module:
    if layer_scale is None:
        return nn.Identity()
    return layer_scale(dim) if callable(layer_scale) else LayerScale(dim, init_values=layer_scale)


def _with_positions(
    position: BranchFactory | Sequence[BranchFactory | None] | None,
) -> dict[str, BranchFactory | None]:
    """The two branches of every block, with a layer in front of each or of one of them."""
    first, second = position if isinstance(position, Sequence) else (position, position)
    found = {"position1": first, "mixer": None, "position2": second, "ffn": None}
    return {name: make for name, make in found.items() if make is not None or name in OWN_BRANCHES}


class ResidualMixer(nn.Module):
    """``x + drop(mixer(norm(x)))``: one more branch with a mixer of its own, for ``Block(branches=)``.

    Args:
        dim: channels C.
        num_heads: heads of the mixer: those of the stage.
        mixer: factory of the mixer, called as ``mixer(dim=, num_heads=)``.
        norm: norm factory, called with ``dim``.
        droppable: whether drop path leaves the branch out.
        drop_path: probability of leaving the branch out for a sample.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    takes_context = takes_heads = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mixer: MixerFactory,
        norm: NormFactory = LayerNorm,
        droppable: bool = True,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.norm, self.mixer = norm(dim), mixer(dim=dim, num_heads=num_heads)
        self.drop_path = DropPath(drop_path) if droppable and drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        x, normed = with_norm(x, self.norm)
        return x + self.drop_path(self.mixer(normed, context))


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
