"""``neighborhood_attention``: dilated and strided neighborhoods with an optional relative-position bias.

Shapes: B batch, H W map, N heads, D and E head widths. Cost: ``2 * (D + E) * rows * columns`` floating-point operations
per query and head.

``kernel_size``: at least 2, odd or even; an even one has one more key on the left. Every query has exactly
rows * columns keys: at the border the neighborhood moves inward.

``dilation``: keys are taken from the query's dilation group (positions equal modulo the dilation). It need not divide
the map.

``stride``: the output keeps its size. ``stride == kernel_size`` is a partition into blocks.

``bias``: the table is added to the logits at the index key minus query plus kernel_size minus 1, in coordinates inside
the dilation group; it is defined for every stride. NATTEN dropped it in 0.20; here it trains. It may have its own
floating type. Its gradient is exact and deterministic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.kernels.backends.order import NEIGHBORHOOD
from visionattn.kernels.geometry import Geometry, Pair, neighborhood_geometry
from visionattn.kernels.op import Call, Own, attention_op, checked_call

if TYPE_CHECKING:
    from jaxtyping import Float


@attention_op(NEIGHBORHOOD)
def neighborhood_attention(
    q: Float[Tensor, "B H W N D"],
    k: Float[Tensor, "B H W N D"],
    v: Float[Tensor, "B H W N E"],
    *,
    kernel_size: Pair,
    dilation: Pair = 1,
    stride: Pair = 1,
    bias: Float[Tensor, "N R S"] | None = None,
    scale: float | None = None,
    backend: str | Own = "auto",
) -> Call:
    """Attention of every query to its nearest keys.

    NAT (Hassani et al. 2022, arXiv 2204.07143), DiNAT (Hassani and Shi 2022, arXiv 2209.15001), Generalized
    Neighborhood Attention (Hassani et al. 2025, arXiv 2504.16922), not causal. The module's docstring has the details.

    Args:
        q: queries ``(B, H, W, N, D)``.
        k: keys ``(B, H, W, N, D)``.
        v: values ``(B, H, W, N, E)``.
        kernel_size: rows and columns, at least 2, with ``kernel_size * dilation <= map``.
        dilation: step between the keys of a query.
        stride: each run of ``stride`` queries shares the neighborhood of its leader, ``1 <= stride <= kernel_size``.
        bias: relative-position table ``(N, 2 * rows - 1, 2 * columns - 1)``, added to the logits.
        scale: of the logits before the bias; None: ``D ** -0.5``.
        backend: "auto", a name, or one of the caller's own: it runs or says why not, as ``explain`` does of all.

    Returns:
        The attended map, ``(B, H, W, N, E)``.

    Raises:
        ValueError: shapes or sizes that do not fit together, with the numbers.
        TypeError: types that do not.
    """

    def geometry(height: int, width: int) -> Geometry:
        return neighborhood_geometry(height, width, kernel_size, dilation, stride)

    return checked_call("neighborhood_attention", (q, k, v), geometry, bias, scale, backend)
