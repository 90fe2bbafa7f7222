"""Classes of a model in the order that a data set has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from visionattn.errors import ConfigError
from visionattn.training.task import VisionTask


@runtime_checkable
class ReordersClasses(Protocol):
    """A task whose head's outputs can be put into another order of classes."""

    def in_order(self, output: Any, order: list[int]) -> Any:
        """Return what the head gives in evaluation, with its class ``order[k]`` as class ``k``."""
        ...


def reorder_classes(task: VisionTask, order: Sequence[int]) -> None:
    """Let a task predict the head's class ``order[k]`` as class ``k``.

    Raises:
        ConfigError: the task does not say how.
    """
    if not isinstance(task, ReordersClasses):
        name = type(task).__name__
        raise ConfigError(f"a {name} has no method in_order, which puts its classes into the order of the data")
    reorders: ReordersClasses = task
    task.head.register_forward_hook(lambda module, inputs, output: reorders.in_order(output, list(order)))
