"""One validation epoch: its loss, its evaluators, and what was wrong with the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torchmetrics import MeanMetric

from visionattn.training.distributed import any_process, collective_device, gather, several_processes
from visionattn.training.evaluator import Evaluator, move
from visionattn.training.nonfinite import Records, raise_fault

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class ValidationEpoch:
    """What one process collects in a validation epoch.

    Args:
        evaluators: name -> evaluator.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        self.evaluators = evaluators
        self._loss = MeanMetric()
        self._has_loss = False
        self._unreadable: Records = []
        self._faults: list[str] = []

    def reset(self) -> None:
        """Begin an epoch."""
        self._loss.reset()
        self._has_loss, self._unreadable, self._faults = False, [], []
        for evaluator in self.evaluators.values():
            evaluator.reset()

    def note(self, unreadable: Records, faults: list[str]) -> None:
        """Add images that cannot be read and faults of the data, also of a batch that has no image left."""
        self._unreadable += unreadable
        self._faults += faults

    def add(self, loss: Tensor | None, prediction: Any, batch: Mapping[str, Any]) -> None:
        """Add the loss and the prediction of a batch."""
        if loss is not None:
            self._has_loss = True
            move(self._loss, loss.device)
            self._loss.update(loss, weight=len(batch["id"]))
        for evaluator in self.evaluators.values():
            evaluator.update(prediction, batch)

    def agree(self) -> Records:
        """Images that cannot be read, of all processes, on every process.

        Raises:
            DataError: a process met a fault of the data; the same error on every process.
        """
        shards = gather((self._unreadable, self._faults))
        raise_fault([fault for _, faults in shards for fault in faults])
        return [record for records, _ in shards for record in records]

    def loss(self) -> Tensor | None:
        """The mean loss over the images of all processes; None if the task gives no loss in validation."""
        if not any_process(self._has_loss):
            return None
        if several_processes():
            move(self._loss, collective_device())
        loss: Tensor = self._loss.compute()
        return loss

    def figures(self, data: VisionData) -> Iterator[tuple[str, float, bool]]:
        """Name, value and whether it goes to the progress bar, of every figure of every evaluator.

        A figure whose name another evaluator gave before gets the name of its own evaluator in front.
        """
        names = set()
        for key, evaluator in self.evaluators.items():
            for name, value in evaluator.compute(data).items():
                unique = name if name not in names else f"{key}_{name}"
                names.add(unique)
                yield unique, value, name in evaluator.shown
