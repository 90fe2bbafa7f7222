"""No mixing at all, for stages without attention and as the lowest control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.attention.mixer import StageContext

if TYPE_CHECKING:
    from jaxtyping import Float


class NoMixing(nn.Module):
    """Nothing: zeros, so that the residual branch adds nothing and tokens are left to the rest of their block.

    The first stage of SHViT (Yun and Ro 2024, arXiv 2401.16456) is of this kind: its blocks mix tokens by a depthwise
    convolution alone. In other backbones it is the control that tells what any mixing is worth.

    Args:
        dim: ignored.
        num_heads: ignored.
        index: ignored.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int = 0, num_heads: int = 1, index: int = 0):
        super().__init__()

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        return x.new_zeros(()).expand_as(x)
