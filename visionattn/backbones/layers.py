"""Which parameters of a backbone learn at one rate under layer-wise decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal


@dataclass(frozen=True)
class LayerGroups:
    """Layers for layer-wise learning rates, numbered from the stem, 0, to the head.

    Bao et al. 2021, BEiT, arXiv 2106.08254, count every block; Liu et al. 2022, ConvNeXt, arXiv 2201.03545, and Rao et
    al. 2022, HorNet, arXiv 2207.14284, put several blocks of the deepest stage together.

    Attributes:
        per_stage: into how many layers the blocks of each stage are divided, evenly; None: each block is a layer.
        downsampling: downsampling belongs to the first layer of the ``stage`` that it begins, or to the ``stem``.
        head: number of the head and the last norm; None: the one after the last block's. A larger one slows the whole
            backbone down.

    Raises:
        ValueError: a number that is not positive, another ``downsampling``, or a head below the blocks.
    """

    per_stage: Sequence[int] | None = None
    downsampling: Literal["stage", "stem"] = "stage"
    head: int | None = None

    def __post_init__(self) -> None:
        if self.downsampling not in ("stage", "stem"):
            raise ValueError(f"downsampling belongs to stage or stem, got {self.downsampling}")
        if self.per_stage is not None and min(self.per_stage, default=0) < 1:
            raise ValueError(f"per_stage needs one positive number per stage, got {list(self.per_stage)}")

    def blocks(self, depths: Sequence[int]) -> list[list[int]]:
        """The layer of every block of every stage; ``depths`` are the numbers of blocks."""
        wanted = depths if self.per_stage is None else self.per_stage
        if len(wanted) < len(depths):
            raise ValueError(f"per_stage needs one number for each of {len(depths)} stages, got {list(wanted)}")
        below, layers = 1, []
        for depth, most in zip(depths, wanted, strict=False):
            count = min(depth, most)
            layers.append([below + block * count // depth for block in range(depth)])
            below += count
        return layers

    def of_head(self, depths: Sequence[int]) -> int:
        """The layer of the head, the highest."""
        above = self.blocks(depths)[-1][-1] + 1
        if self.head is not None and self.head < above:
            raise ValueError(f"the head comes after {above} layers, its number cannot be {self.head}")
        return above if self.head is None else self.head

    def of_parameters(self, backbone: Any) -> dict[str, int]:
        """The layer of every parameter of a :class:`visionattn.backbones.HierarchicalBackbone`, by name."""
        depths = [len(stage.blocks) for stage in backbone.stages]
        layer = {id(p): 0 for p in backbone.stem.parameters()}
        for stage, numbers in zip(backbone.stages, self.blocks(depths), strict=True):
            for block, number in zip(stage.blocks, numbers, strict=True):
                layer.update((id(p), number) for p in block.parameters())
            if self.downsampling == "stem":
                layer.update((id(p), 0) for p in stage.downsample.parameters())
            layer.update((id(p), numbers[0]) for p in stage.parameters() if id(p) not in layer)
        return {name: layer.get(id(p), self.of_head(depths)) for name, p in backbone.named_parameters()}

    def patterns(self, depths: Sequence[int]) -> dict[str, Any]:
        """The same in the form of timm's ``group_matcher``, which has no numbers for heads and norms before them."""
        found: list[tuple[str, tuple[int] | None]] = []
        for stage, numbers in enumerate(self.blocks(depths)):
            for number, blocks in groupby(range(len(numbers)), key=numbers.__getitem__):
                found.append((rf"^stages\.{stage}\.blocks\.(?:{'|'.join(map(str, blocks))})\.", (number,)))
            found.append((rf"^stages\.{stage}\.", (numbers[0],)))
        stem = r"^stem|^stages\.\d+\.downsample" if self.downsampling == "stem" else r"^stem"
        return {"stem": stem, "blocks": [*found, (r"^norm", (99999,))]}
