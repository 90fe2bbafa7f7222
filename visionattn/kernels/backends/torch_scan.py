"""Backends ``reference`` and ``traceable`` of ``selective_scan``, in plain differentiable torch operators.

``reference`` is the definition: chunks of about the root of the tokens are scanned step by step, all chunks at once,
and what each chunk starts with is carried over afterwards. It takes any floating type (half types are computed in
float32); memory is linear in the tokens.

``traceable`` has no loop, for graphs that leave PyTorch with any height and width: each line of the map is one product
with a matrix of decays, and so are the ends of the lines. Memory: ``B * K * C * S * L`` times the side of the map.

Legend: B batch, H W map, C channels, K directions, S states, L = H * W, M chunks of T tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.dispatch import never
from visionattn.kernels.scan_op import ScanBackend
from visionattn.kernels.signature import stats_dtype


def scan_by_chunks(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan; see ``scan_op.py`` for the arguments."""
    ways, size, kind = range(a.shape[0]), (x.shape[1], x.shape[2]), stats_dtype(x.dtype)
    xs = torch.stack([line_up(x, way) for way in ways], dim=1).to(kind)  # (B, K, L, C)
    steps, bs, cs = (torch.stack([line_up(t[:, :, :, w], w) for w in ways], dim=1).to(kind) for t in (delta, b, c))
    steps = F.softplus(steps)
    decays = (steps[..., None] * a.to(kind)[:, None]).exp()  # (B, K, L, C, S)
    states = _recurrence(decays, (steps * xs)[..., None] * bs[..., None, :])
    ys = (states * cs[..., None, :]).sum(-1)
    return sum((lay_out(ys[:, way], way, size) for way in ways[1:]), lay_out(ys[:, 0], 0, size)).to(x.dtype)


def _recurrence(decays: Tensor, inputs: Tensor) -> Tensor:
    """``h[t] = decays[t] * h[t - 1] + inputs[t]`` along the third axis, ``(B, K, L, C, S)``."""
    length = decays.shape[2]
    steps = max(math.isqrt(length), 1)
    rest = (0, 0, 0, 0, 0, -length % steps)
    inside = (F.pad(t, rest).unflatten(2, (-1, steps)).unbind(3) for t in (decays, inputs))
    local: list[Tensor] = []
    kept: list[Tensor] = []
    for decay, new in zip(*inside, strict=True):  # all chunks at once, each from zero
        local.append(decay * local[-1] + new if local else new)
        kept.append(decay * kept[-1] if kept else decay)
    starts = [torch.zeros_like(local[0][:, :, 0])]
    for end, factor in zip(local[-1].unbind(2)[:-1], kept[-1].unbind(2)[:-1], strict=True):
        starts.append(factor * starts[-1] + end)
    states = torch.stack(local, dim=3) + torch.stack(kept, dim=3) * torch.stack(starts, dim=2)[:, :, :, None]
    return states.flatten(2, 3)[:, :, :length]


def line_up(x: Tensor, way: int) -> Tensor:
    """The tokens of a map ``(B, H, W, _)`` in the order of a direction, ``(B, L, _)``."""
    line = (x.transpose(1, 2) if way % 2 else x).flatten(1, 2)
    return line.flip(1) if way >= 2 else line


def lay_out(line: Tensor, way: int, size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`line_up`."""
    line = line.flip(1) if way >= 2 else line
    x = line.unflatten(1, (size[1], size[0]) if way % 2 else size)
    return x.transpose(1, 2) if way % 2 else x


def scan_by_lines(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The scan without a loop; see ``scan_op.py`` for the arguments."""
    kind = stats_dtype(x.dtype)
    parts = [
        _scan_lines(way, *(t.to(kind) for t in (x, delta[:, :, :, way], a[way], b[:, :, :, way], c[:, :, :, way])))
        for way in range(a.shape[0])
    ]
    return sum(parts[1:], parts[0]).to(x.dtype)


def _scan_lines(way: int, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """One direction: x and delta ``(B, H, W, C)``, a ``(C, S)``, b and c ``(B, H, W, S)``."""
    x, delta, b, c = (_turn(t, way) for t in (x, delta, b, c))
    step = F.softplus(delta)
    logs = (step[..., None] * a).permute(0, 3, 4, 1, 2)  # (B, C, S, H, W)
    new = ((step * x)[..., None] * b[..., None, :]).permute(0, 3, 4, 1, 2)
    inside = _decays(logs)
    local = (inside @ new[..., None])[..., 0]
    ends, whole = local[..., -1], logs.sum(-1)
    after = (_decays(whole) @ ends[..., None])[..., 0]  # the states after each line
    start = F.pad(after[..., :-1], (1, 0))
    states = local + logs.cumsum(-1).exp() * start[..., None]
    return _turn((states * c.permute(0, 3, 1, 2)[:, None]).sum(2).permute(0, 2, 3, 1), way, back=True)


def _turn(x: Tensor, way: int, back: bool = False) -> Tensor:
    """A map whose lines, read row by row, are those of a direction; ``back`` undoes it."""
    if way % 2 and not back:
        x = x.transpose(1, 2)
    x = x.flip(1, 2) if way >= 2 else x
    return x.transpose(1, 2) if way % 2 and back else x


def _decays(logs: Tensor) -> Tensor:
    """``exp(sum of logs from j + 1 to i)`` for j up to i, else 0: ``(..., n) -> (..., n, n)``, i first.

    The sums are sums, not differences of sums, which would lose the digits of small ones.
    """
    place = torch.arange(logs.shape[-1], device=logs.device)
    later, earlier = place[:, None] > place, place[:, None] < place
    sums = torch.where(later, logs[..., :, None], torch.zeros_like(logs[..., :, None])).cumsum(-2)
    return torch.where(earlier, torch.zeros_like(sums), sums.exp())


REFERENCE = ScanBackend("reference", scan_by_chunks, never)
TRACEABLE = ScanBackend("traceable", scan_by_lines, never, plain=True)
