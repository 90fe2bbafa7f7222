"""Clipped softmax: attention whose probabilities may be exactly 0 or 1, in plain torch operators.

Bondarenko et al. 2023, *Quantizable Transformers: Removing Outliers by Helping Attention Heads Do Nothing*, arXiv
2306.12929. It is another function than the other backends', so it stands in none of the ordered lists. Probabilities
are held in memory, tile by tile as in ``traceable``: a kernel that never holds them cannot clip them.

Legend: B batch, T queries, S keys, N heads, D E head widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from visionattn.kernels.backends import traceable
from visionattn.kernels.dispatch import never
from visionattn.kernels.op import Backend, Own
from visionattn.kernels.token_op import TokenBackend, dense_logits

NAME = "clipped softmax"


@dataclass(frozen=True)
class ClippedProbabilities:
    """``clip((eta - gamma) * softmax + gamma, 0, 1)``; rows are not normalized again.

    Attributes:
        gamma: the lower end, not above 0. With ``per_key`` it is divided by the number of keys that a query sees.
        eta: the upper end, not below 1.
        per_key: whether ``gamma`` is so divided.
    """

    gamma: float
    eta: float = 1.0
    per_key: bool = False

    def __call__(self, logits: Tensor, keys: Tensor | int) -> Tensor:
        gamma = self.gamma / keys if self.per_key else self.gamma
        return (logits.softmax(-1) * (self.eta - gamma) + gamma).clamp(0, 1)


def clipped_softmax(probabilities: ClippedProbabilities) -> Own:
    """The operators with these probabilities, for ``backend=``."""
    maps = partial(traceable.attend, normalize=probabilities)
    tokens = partial(_of_tokens, probabilities=probabilities)
    return Own(NAME, Backend(NAME, maps, never), TokenBackend(NAME, tokens, never))


def _of_tokens(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, *, probabilities: ClippedProbabilities
) -> Tensor:
    weights = probabilities(dense_logits(q, k, bias, scale), k.shape[1])
    return torch.einsum("bnts,bsne->btne", weights, v)
