"""Learned position biases: what a head adds to the logits for each relative position.

Shapes: N heads, R S rows and columns of a table.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from visionattn.analysis.choosing import Choice
from visionattn.analysis.maps import label_of
from visionattn.analysis.trace import Recording, record


@dataclass(frozen=True)
class PositionTable:
    """The relative-position bias of a block.

    Attributes:
        stage: ``s1``, ``s2``, ...
        block: its number in the stage, from 0 on.
        mixer: class of the mixer.
        values: ``(N, R, S)``, added to the logits; entry ``[:, R // 2 + dy, S // 2 + dx]`` is for a key dy rows below
            and dx columns to the right of the query, in steps of the dilation.
    """

    stage: str
    block: int
    mixer: str
    values: Tensor


def bias_tables(model: nn.Module, image: Tensor) -> list[PositionTable]:
    """The position biases of all blocks that have one, as they are used on an image of this size.

    Tables: Liu et al. 2021, arXiv 2103.14030. FasterViT's come from a small network (Liu et al. 2021, arXiv
    2111.09883).

    Args:
        model: a backbone of visionattn, or a task around one.
        image: ``(C, H, W)`` or ``(1, C, H, W)``; only its size matters.
    """
    return tables_in(record(model, image), Choice())


def tables_in(kept: Recording, choice: Choice) -> list[PositionTable]:
    """The same of a recorded pass."""
    return [
        PositionTable(stage.name, block.index, label_of(part, block), call.table.detach())
        for stage, block, part in choice.parts(kept)
        for call in part.matrices
        if call.table is not None
    ]
