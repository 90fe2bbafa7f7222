"""Evaluators: what a validation computes.

A task hands its predictions to its evaluators, which are configured objects (``task.evaluators``, the configuration
group ``evaluator``). Any metric of torchmetrics is one by :class:`MetricEvaluator`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from visionattn.errors import ConfigError
from visionattn.training.distributed import collective_device, several_processes

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class Evaluator(ABC):
    """The base of all evaluators.

    Attributes:
        latest: what the latest :meth:`compute` was made from, for observers; None before.
        shown: names of figures for the progress bar.
        figures: names that :meth:`compute` may give, from :meth:`setup` on; None: not known beforehand.
    """

    latest: Any = None
    shown: tuple[str, ...] = ()
    figures: tuple[str, ...] | None = None

    def setup(self, data: VisionData) -> None:  # noqa: B027
        """Prepare for a data set, before its first batch.

        Raises:
            ConfigError: the data lack what is evaluated.
        """

    @abstractmethod
    def update(self, prediction: Any, batch: Mapping[str, Any]) -> None:
        """Add the prediction for a batch, as the task's ``step`` gives it in evaluation."""

    @abstractmethod
    def compute(self, data: VisionData) -> dict[str, float]:
        """Return name -> figure over the batches of all processes. Every process calls it and gets the same figures."""

    @abstractmethod
    def reset(self) -> None:
        """Forget the batches; ``latest`` stays."""


class MetricEvaluator(Evaluator):
    """Metrics of torchmetrics as an evaluator.

    Args:
        metrics: name -> metric.
        scale: factor on every figure, for instance 100 for percent.
        target: key of the batch that the prediction is compared with.
        shown: names of figures for the progress bar.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric | MetricCollection],
        scale: float = 1.0,
        target: str = "target",
        shown: Sequence[str] = (),
    ) -> None:
        self.metrics = MetricCollection(dict(metrics), compute_groups=False)
        self.scale, self.target, self.shown = scale, target, tuple(shown)

    def update(self, prediction: Any, batch: Mapping[str, Any]) -> None:
        """Compare a batch; where images have sizes of their own (lists), image by image."""
        target = batch[self.target]
        pairs = [(prediction, target)]
        if not isinstance(prediction, Tensor):
            pairs = [(one[None], other[None]) for one, other in zip(prediction, target, strict=True)]
        for one, other in pairs:
            move(self.metrics, one.device)
            self.metrics.update(one, other)

    def compute(self, data: VisionData) -> dict[str, float]:
        if several_processes():
            move(self.metrics, collective_device())
        values = {name: self.scale * figure(name, value) for name, value in self.metrics.compute().items()}
        self.latest = values
        return values

    def reset(self) -> None:
        self.metrics.reset()


def move(metrics: Metric | MetricCollection, device: torch.device) -> None:
    """Bring the states of metrics to a device."""
    singles = metrics.values() if isinstance(metrics, MetricCollection) else [metrics]
    for metric in singles:
        if metric.device != device:
            metric.to(device)


def figure(name: str, value: Any) -> float:
    """A metric's value as a number.

    Raises:
        ConfigError: it is not a single number.
    """
    value = torch.as_tensor(value)
    if value.numel() != 1:
        raise ConfigError(f"the metric {name} gives {value.numel()} values; choose an average, so that it gives one")
    return value.item()


Given = Mapping[str, "Evaluator | Metric | MetricCollection | None"]


def named_evaluators(given: Given) -> dict[str, Evaluator]:
    """Evaluators by name; metrics become evaluators, and entries that are None are left out.

    Raises:
        ConfigError: something is neither.
    """
    return {name: _evaluator(name, value) for name, value in given.items() if value is not None}


def _evaluator(name: str, given: Any) -> Evaluator:
    if isinstance(given, Evaluator):
        return given
    if isinstance(given, MetricCollection):
        return MetricEvaluator({name: given})
    if isinstance(given, Metric):
        return MetricEvaluator({name: given})
    raise ConfigError(
        f"task.evaluators.{name} is a {type(given).__name__}, neither an Evaluator nor a torchmetrics Metric"
    )


E = TypeVar("E", bound=Evaluator)


def first_of(evaluators: Iterable[Evaluator], kind: type[E]) -> E | None:
    """The first evaluator of a class; None if there is none."""
    return next((evaluator for evaluator in evaluators if isinstance(evaluator, kind)), None)
