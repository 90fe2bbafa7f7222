"""``selective_scan``: a recurrence along the rows and columns of a map whose step each token chooses.

Shapes: B batch, H W map, C channels, K directions, S states.

In each direction every channel keeps S numbers h, starting from zero, and every token on the way does::

    step = softplus(delta)                      one number per channel
    h    = exp(step * a) * h + step * b * x     b is shared by the channels
    y   += sum over the states of c * h         c is shared by the channels

The directions are the first K of: row by row from the top left; column by column from the top left; and both from the
end. Their outputs are added. Cost: about ``9 * K * S`` operations per token and channel: linear in the tokens, and so
is the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.kernels.backends.order import SCAN
from visionattn.kernels.dispatch import Prepared, operator
from visionattn.kernels.op import autocast
from visionattn.kernels.scan_op import ScanBackend, check_scan

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["ScanCall", "selective_scan"]


@dataclass(frozen=True)
class ScanCall(Prepared[ScanBackend]):
    """A checked call of ``selective_scan``: what every backend receives, and the choice of it."""

    x: Tensor
    delta: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    backend: str

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.x, self.delta, self.a, self.b, self.c

    def wanted(self, op: str) -> str:
        return self.backend


@operator(SCAN)
def selective_scan(
    x: Float[Tensor, "B H W C"],
    delta: Float[Tensor, "B H W K C"],
    a: Float[Tensor, "K C S"],
    b: Float[Tensor, "B H W K S"],
    c: Float[Tensor, "B H W K S"],
    *,
    backend: str = "auto",
) -> ScanCall:
    """Selective scan of a map in up to four directions.

    Gu and Dao 2023, *Mamba: Linear-Time Sequence Modeling with Selective State Spaces*, arXiv 2312.00752; in four
    directions on a map: Liu et al. 2024, *VMamba: Visual State Space Model*, arXiv 2401.10166. The module's docstring
    has the recurrence. The published code copies the map once for each direction and takes the direct path ``d * x``
    as an argument; here nothing is copied, and a caller adds that path itself.

    Args:
        x: the map.
        delta: what softplus makes the step of, at each token's own place on the map, for each direction.
        a: how fast states decay; not positive.
        b: how a token enters the states.
        c: how the states are read.
        backend: "auto", or a name: it runs or raises its reason; ``explain`` lists those of all.

    Returns:
        The sum of the directions, ``(B, H, W, C)``.

    Raises:
        ValueError: shapes that do not fit together, with the numbers.
        TypeError: types that do not.
    """
    x, delta, b, c = autocast(x, delta, b, c)
    check_scan(x, delta, a, b, c)
    return ScanCall(x, delta, a, b, c, backend)
