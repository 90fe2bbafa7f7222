"""The learning rate for the batch that a run really has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

RULES: dict[str, Callable[[float], float]] = {"linear": lambda ratio: ratio, "sqrt": math.sqrt}


@dataclass(frozen=True)
class LearningRateScaling:
    """The rule ``lr * rule(batch / base_size)``, with timm's names: ``lr_base_size`` and ``lr_base_scale``.

    ``linear`` is Goyal et al. 2017, *Accurate, large minibatch SGD*, arXiv 1706.02677; ``sqrt`` is Krizhevsky 2014,
    *One weird trick*, arXiv 1404.5997, and what LAMB (You et al. 2019, arXiv 1904.00962) uses. Only the peak rate is
    scaled; the schedule's ``warmup_lr`` and ``min_lr`` stay as they are given.

    Attributes:
        base_size: images per optimizer step that the configured rate is meant for; None: it is used as it is.
        rule: ``linear`` or ``sqrt``.

    Raises:
        ValueError: a base below one image, or an unknown rule.
    """

    base_size: int | None = None
    rule: str = "linear"

    def __post_init__(self) -> None:
        if self.base_size is not None and self.base_size < 1:
            raise ValueError(f"lr_base_size must be at least one image, got {self.base_size}")
        if self.rule not in RULES:
            raise ValueError(f"lr_base_scale must be one of {', '.join(RULES)}, got {self.rule!r}")

    def __call__(self, lr: float, batch: int) -> float:
        """The rate for ``batch`` images per optimizer step, over all processes and accumulated batches."""
        return lr if self.base_size is None else lr * RULES[self.rule](batch / self.base_size)

    def arguments(self, lr: float | None, batch: int) -> dict[str, float]:
        """The optimizer's arguments that change: the scaled rate, or nothing where rates are not scaled.

        Raises:
            ValueError: there is no rate to scale.
        """
        if self.base_size is None:
            return {}
        if lr is None:
            raise ValueError("lr_base_size scales the optimizer's lr, but none is given")
        return {"lr": self(lr, batch)}

    def describe(self, lr: float | None, batch: int) -> str:
        """The rate and how it came about, for example ``0.002 = 0.001 x 1024 / 512``."""
        if lr is None:
            return "the optimizer's own"
        if self.base_size is None:
            return f"{lr:g}"
        ratio = f"{batch} / {self.base_size}"
        return f"{self(lr, batch):g} = {lr:g} x {ratio if self.rule == 'linear' else f'sqrt({ratio})'}"
