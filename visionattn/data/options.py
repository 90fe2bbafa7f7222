"""Arguments that all data modules share, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from visionattn.data.loading import LoaderOptions


class EvalTransform(Protocol):
    """A transform of evaluation images, without randomness, that describes itself.

    Attributes:
        mean: of every channel, subtracted from values in 0..1.
        std: of every channel, by which they are divided.
    """

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The image (and its target, where the task's data say so) as the loader gives it."""

    def describe(self) -> dict[str, Any]:
        """The protocol, for the evaluation's result file."""


class LoadingOptions(LoaderOptions, total=False):
    """Options of all loaders of a data module.

    Attributes:
        eval_batch_size: samples per process of val and test; None: ``batch_size``.
    """

    eval_batch_size: int | None


class DataOptions(LoadingOptions, total=False):
    """Arguments of :class:`VisionData` that its subclasses hand on."""

    mean: Sequence[float]
    std: Sequence[float]
    seed: int
    unreadable_budget: float
    root: str | None


def loader_options(given: LoadingOptions) -> LoaderOptions:
    """The options of a loader, with their defaults.

    Raises:
        TypeError: an unknown option.
    """
    unknown = sorted(given.keys() - LoaderOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"a data module takes no argument {', '.join(unknown)}")
    pins = given.get("pin_memory", False) and torch.accelerator.is_available()  # else there is nothing to copy to
    return {
        "num_workers": given.get("num_workers", 0),
        "pin_memory": pins,
        "prefetch_factor": given.get("prefetch_factor", 2),
        "timeout": given.get("timeout", 600.0),
    }
