"""A stage: a downsampling layer and a row of blocks on one resolution.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from visionattn.attention.mixer import MixerFactory, StageContext, takes_heads
from visionattn.attention.rotary import Rotary

BlockFactory = Callable[..., nn.Module]
DownsampleFactory = Callable[[int, int], nn.Module]


class _Strided(Protocol):
    stride: int


def stride_of(layer: nn.Module) -> int:
    """The stride that a stem or a downsampling layer declares."""
    return int(cast("_Strided", layer).stride)


class Stage(nn.Module):
    """Downsample, then ``depth`` times ``blocks_per_depth`` blocks.

    Args:
        dim_in: channels that come in.
        dim: channels C of the stage.
        num_heads: heads of the mixers.
        mixer: called as ``mixer(dim=, num_heads=, index=)`` for each block.
        block: called as ``block(dim, mixer, drop_path=)``; if it declares ``takes_heads``, with ``num_heads`` as well.
        drop_path: one probability per unit of depth; its length is the depth.
        first: the first stage of a backbone has no downsampling.
        downsample: called as ``downsample(dim_in, dim)``.
        blocks_per_depth: blocks that the paper's table counts as one (DaViT counts pairs); they share a drop-path rate.
        in_turn: further arguments of the blocks: the first of them for block 0, the second for block 1, and so on
            around (L2ViT's blocks have another branch every second time).
        position: factory of a layer between downsampling and blocks, called with ``dim``; None: none.
        norm: factory of a norm after the last block, called with ``dim``; None: none.

    Raises:
        ValueError: ``in_turn`` is empty.

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
        blocks_per_depth: int = 1,
        in_turn: Sequence[Mapping[str, Any]] = ({},),
        position: Callable[[int], nn.Module] | None = None,
        norm: Callable[[int], nn.Module] | None = None,
    ):
        super().__init__()
        if not in_turn:
            raise ValueError("in_turn needs the arguments of one block at least, got none")
        self.dim = dim
        self.downsample = nn.Identity() if first else downsample(dim_in, dim)
        self.stride = 1 if first else stride_of(self.downsample)
        self.position, self.norm = (nn.Identity() if make is None else make(dim) for make in (position, norm))
        heads = {"num_heads": num_heads} if takes_heads(block) else {}
        self.blocks = nn.ModuleList(
            block(
                dim,
                mixer(dim=dim, num_heads=num_heads, index=index),
                drop_path=rate,
                **heads,
                **in_turn[index % len(in_turn)],
            )
            for index, rate in enumerate(rate for rate in drop_path for _ in range(blocks_per_depth))
        )
        declarations = (getattr(module, "rotary", None) for module in self.blocks.modules())
        self.rotary = {rule.key: rule for rule in declarations if isinstance(rule, Rotary)}
        self.grad_checkpointing = False

    def context(self, x: Tensor) -> StageContext:
        """What the blocks share; a family with more to share overrides this."""
        return StageContext(
            rotary={key: rule.table(x.shape[1], x.shape[2], x.device) for key, rule in self.rotary.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.position(self.downsample(x))
        context = self.context(x)
        for block in self.blocks:
            if self.grad_checkpointing and self.training:
                x = checkpoint(block, x, context, use_reentrant=False)
            else:
                x = block(x, context)
        return self.norm(x)


def stages_apart(
    stages: Mapping[str, Mapping[str, Any]], stage: Callable[..., Stage] = Stage, **shared: Any
) -> dict[str, Callable[..., Stage]]:
    """Stage factories that differ in some arguments.

    Args:
        stages: stage (``s1``, ``s2``, ...) -> the arguments that it has for itself.
        stage: the class.
        **shared: the arguments of all stages.

    Returns:
        One factory per stage, for ``HierarchicalBackbone(stage=)``.
    """
    return {key: partial(stage, **{**shared, **own}) for key, own in stages.items()}
