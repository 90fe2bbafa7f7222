"""Attention with clipped probabilities, on any mixer that computes by the operators of the kernels."""

from __future__ import annotations

from typing import Any

from torch import nn

from visionattn.attention.mixer import MixerFactory, declared
from visionattn.kernels.backends.clipped import ClippedProbabilities, clipped_softmax


class ClippedSoftmax:
    """Any attention whose softmax is stretched and clipped, so that a head can say nothing with finite logits.

    Bondarenko et al. 2023, *Quantizable Transformers: Removing Outliers by Helping Attention Heads Do Nothing*, arXiv
    2306.12929.

    Probabilities are ``clip((eta - gamma) * softmax + gamma, 0, 1)``, not normalized again, and no gradient passes
    where they are clipped. With ``alpha`` the lower end is ``gamma = -alpha / keys``, of the keys that the query sees:
    fewer in a window that the border cuts, where the published code knows one length. Plain torch computes it: see
    :mod:`visionattn.kernels.backends.clipped`. :mod:`visionattn.analysis` shows probabilities before they are clipped.

    Args:
        mixer: factory of a mixer that has a ``backend``.
        alpha: of the lower end; published: 2 to 12. None: ``gamma`` is given.
        gamma: the lower end, not above 0. None: ``alpha`` is given.
        eta: the upper end, not below 1.

    Raises:
        ValueError: not exactly one of ``alpha`` and ``gamma``, or ends on the wrong side of 0 and 1.
    """

    def __init__(
        self, mixer: MixerFactory, *, alpha: float | None = None, gamma: float | None = None, eta: float = 1.0
    ):
        if (alpha is None) == (gamma is None):
            raise ValueError(f"a clipped softmax takes either alpha or gamma, got {alpha} and {gamma}")
        lower = -alpha if alpha is not None else gamma
        if lower is None or lower > 0 or eta < 1:
            raise ValueError(f"the ends are gamma <= 0 and eta >= 1, got {lower} (gamma or -alpha) and {eta}")
        self.mixer, self.backend = mixer, clipped_softmax(ClippedProbabilities(lower, eta, per_key=alpha is not None))

    def __call__(self, dim: int, num_heads: int, index: int = 0) -> nn.Module:
        """Build the mixer with this softmax.

        Raises:
            ValueError: the mixer does not compute by the operators of the kernels, or by a certain backend.
        """
        built: Any = self.mixer(dim=dim, num_heads=num_heads, index=index)
        parts = [part for part in built.modules() if hasattr(part, "backend") and not declared(part, "without_softmax")]
        if not parts:
            raise ValueError(f"{type(built).__name__} has no softmax over keys that could be clipped")
        for part in parts:
            if part.backend != "auto":
                raise ValueError(
                    f"{type(part).__name__} is to compute by {part.backend}, which cannot clip its softmax"
                )
            part.backend = self.backend
        return built
