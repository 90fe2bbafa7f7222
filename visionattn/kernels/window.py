"""``window_attention``: windows, shifted windows, strips and grids, one function.

Shapes: B batch, H W map, N heads, D and E head widths; any H and W. Cost: ``2 * (D + E) * (keys per query)``
floating-point operations per query and head.

``window``: ``(H, s)`` or ``(s, W)`` are strips. A window may exceed the map, which then cuts it.

``shift``: Swin's cyclic shift by 3 with its mask is ``shift=3``: the first window has the rows 0..2, the next 3..9.
Windows are cut at the border, so no token sees across it and nothing is padded (timm and the official detection code
pad instead, and attend to the padding).

``dilation``: ``(H // g, W // g)`` is MaxViT's g x g grid where g divides the map.

``decay``: logits fall by ``|place(query) - place(key)|``, the places of tokens ``(B, H, W, N)``, of any floating type.
Their gradient is exact and deterministic. See ``decay.py``.

``bias``: the table is added to the logits at the index key minus query plus window minus 1, in coordinates inside the
dilation group. It may have its own floating type. Its gradient is exact and deterministic.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.kernels.backends.order import WINDOW
from visionattn.kernels.decay import as_channels
from visionattn.kernels.geometry import Pair, certainly, window_geometry
from visionattn.kernels.op import Call, Own, attention_op, checked_call

if TYPE_CHECKING:
    from jaxtyping import Float


@attention_op(WINDOW)
def window_attention(
    q: Float[Tensor, "B H W N D"],
    k: Float[Tensor, "B H W N D"],
    v: Float[Tensor, "B H W N E"],
    *,
    window: Pair,
    shift: Pair = (0, 0),
    dilation: Pair = (1, 1),
    decay: Float[Tensor, "B H W N"] | None = None,
    bias: Float[Tensor, "N R S"] | None = None,
    scale: float | None = None,
    backend: str | Own = "auto",
) -> Call:
    """Attention inside the windows of a partition.

    Swin (Liu et al. 2021, arXiv 2103.14030), CSWin's strips (Dong et al. 2021, arXiv 2107.00652), MaxViT's blocks and
    grids (Tu et al. 2022, arXiv 2204.01697). The module's docstring has the details of the arguments.

    Args:
        q: queries ``(B, H, W, N, D)``.
        k: keys ``(B, H, W, N, D)``.
        v: values ``(B, H, W, N, E)``.
        window: rows and columns of a window, in tokens.
        shift: where the partition's first line stands, ``0 <= shift < window``.
        dilation: the partition happens inside each dilation group (positions equal modulo the dilation).
        decay: places ``(B, H, W, N)`` of the tokens, whose distances are subtracted from the logits.
        bias: relative-position table ``(N, 2 * rows - 1, 2 * columns - 1)``, added to the logits.
        scale: of the logits before the bias; None: ``D ** -0.5``.
        backend: "auto", a name, or one of the caller's own: it runs or says why not, as ``explain`` does of all.

    Returns:
        The attended map, ``(B, H, W, N, E)``.

    Raises:
        ValueError: shapes or sizes that do not fit together, with the numbers.
        TypeError: types that do not.
    """
    cut = partial(window_geometry, window=window, shift=shift, dilation=dilation)
    call = checked_call("window_attention", (q, k, v), cut, bias, scale, backend)
    return call if decay is None else with_decay(call, decay)


def with_decay(call: Call, places: Float[Tensor, "B H W N"]) -> Call:
    """The call with the places of tokens behind the channels of its queries and keys.

    Raises:
        ValueError: places of another shape or device.
        TypeError: not floating point.
    """
    shape = call.q.shape[:4]
    if places.dim() != 4 or any(certainly(have != need) for have, need in zip(places.shape, shape, strict=True)):
        raise ValueError(
            f"window_attention: decay must be (B, H, W, heads) = {tuple(shape)}, got {tuple(places.shape)}"
        )
    if not places.is_floating_point():
        raise TypeError(f"window_attention: decay must be floating point, got {places.dtype}")
    if places.device != call.q.device:
        raise ValueError(f"window_attention: decay must be on the device of q, got {places.device} and {call.q.device}")
    channels = as_channels(places, call.q.dtype)
    q, k = (torch.cat([x, channels], dim=-1) for x in (call.q, call.k))
    return replace(call, q=q, k=k, geometry=replace(call.geometry, decay=channels.shape[-1]))
