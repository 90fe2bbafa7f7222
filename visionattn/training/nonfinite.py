"""Decisions that all processes take together before the weights change.

Once per optimizer step they agree on whether a loss or a gradient is not finite, whether to stop, how many images could
not be read, and whether the data have a fault. One small reduction carries all of it. It comes right before the
optimizer's step, when the gradients have just been reduced and the processes are synchronized anyway.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from visionattn.errors import ConfigError, DataError, NonFiniteLossError
from visionattn.training.distributed import gather, several_processes

Records = list[tuple[str, str]]
POLICIES = ("stop", "skip")
_OVERFLOWS = 40
"""Overflows in a row after which a scale of fp16 that began at 2**16 is too small to be the reason."""
_ADVICE = (
    "Usual causes: a learning rate that is too high, fp16 overflow (trainer.precision=bf16-mixed helps), broken images"
)

_AT_ONCE = (
    "It is the first step, so the learning rate is not the cause. Usual causes: images or targets that are not finite "
    "(`visionattn data doctor`), a data.std of 0, damaged weights, fp16 overflow (trainer.precision=bf16-mixed helps)"
)


@dataclass
class StepDecision:
    """What all processes decided about a step, the same on each.

    Attributes:
        skip: leave the weights as they are in this step.
        stop: save and leave after this step.
        unreadable: images of all processes that could not be read and were first met since the last step.
        incident: what was not finite, for the run's records; empty if nothing was.
    """

    skip: bool = False
    stop: bool = False
    unreadable: Records = field(default_factory=list)
    incident: dict[str, Any] = field(default_factory=dict)


@dataclass
class _SeenBatch:
    """A batch after its forward pass; without prediction and images where a later batch was seen."""

    loss: Tensor
    prediction: Any
    batch: dict[str, Any]


class StepMonitor:
    """Collector of what one process meets between two optimizer steps.

    Args:
        policy: what to do about a loss or gradient that is not finite: ``stop`` raises, ``skip`` leaves this step out
            on all processes and continues.
        patience: skipped steps in a row after which ``skip`` stops too.

    Raises:
        ConfigError: there is no such policy.
    """

    def __init__(self, policy: str = "stop", patience: int = 10) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"nonfinite is one of {', '.join(POLICIES)}, got {policy!r}")
        self.policy, self.patience = policy, patience
        self.in_a_row = self.overflows = self.decided = 0
        self._seen: list[_SeenBatch] = []
        self._unreadable: Records = []
        self._faults: list[str] = []

    @property
    def at_start(self) -> bool:
        """Whether the next batch is the first one of an optimizer step."""
        return not self._seen

    def see(self, loss: Tensor, prediction: Any, batch: dict[str, Any], unreadable: Records) -> None:
        """Add a batch after its forward pass. It costs nothing on the device."""
        if self._seen:  # gradients are being accumulated; keeping every batch alive would cost memory
            last = self._seen[-1]
            self._seen[-1] = _SeenBatch(last.loss, None, {"id": last.batch["id"]})
        self._seen.append(_SeenBatch(loss.detach(), prediction, batch))
        self._unreadable += unreadable

    def add_faults(self, messages: Iterable[str]) -> None:
        """Add faults of the data that must stop the run; the next decision raises the first one on all processes."""
        self._faults += messages

    def decide(self, norm: Tensor | None, stop: bool, overflow_is_normal: bool = False) -> StepDecision:
        """Decide about everything seen since the last call. Every process calls it at the same step.

        Args:
            norm: norm of the gradient; None: not known.
            stop: whether this process was asked to stop.
            overflow_is_normal: the gradient is scaled (fp16), and the scaler handles overflows itself.

        Raises:
            NonFiniteLossError: a loss or the gradient is not finite and the step is not to be skipped; names the
                samples, on every process.
            DataError: some process met a fault of the data; the same message on every process.
        """
        seen, self._seen = self._seen, []
        unreadable, self._unreadable = self._unreadable, []
        faults, self._faults = self._faults, []
        if not seen:
            return StepDecision()
        totals = self._totals(seen, norm, stop, len(unreadable), len(faults))
        if totals.faults:
            raise_fault([fault for shard in gather(faults) for fault in shard])
        decision = StepDecision(stop=totals.stops > 0)
        if totals.unreadable:
            decision.unreadable = [record for shard in gather(unreadable) for record in shard]
        if totals.bad_losses or (totals.bad_norms and not overflow_is_normal):
            decision.incident = _incident(gather(_report(seen)), bool(totals.bad_losses))
            self.in_a_row += 1
            if self.policy == "stop" or self.in_a_row > self.patience:
                raise _error(decision.incident, self.in_a_row, first=not self.decided)
            decision.skip = True
        else:
            self.in_a_row = 0
            self._count_overflow(bool(totals.bad_norms), seen)
        self.decided += 1
        return decision

    def _count_overflow(self, overflow: bool, seen: list[_SeenBatch]) -> None:
        """Stop a run whose gradient overflows in fp16 whatever the scale: its weights no longer change."""
        self.overflows = self.overflows + 1 if overflow else 0
        if self.overflows > _OVERFLOWS:
            raise _error(_incident(gather(_report(seen)), bad_loss=False), self.overflows)

    @staticmethod
    def _totals(seen: list[_SeenBatch], norm: Tensor | None, stop: bool, unreadable: int, faults: int) -> _Totals:
        losses = torch.stack([one.loss.float().mean() for one in seen])
        if norm is not None and dist.is_available() and dist.is_initialized():
            from torch.distributed.tensor import DTensor

            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm  # its shards lie on several processes
        bad_norm = torch.zeros((), dtype=torch.bool) if norm is None else ~torch.isfinite(norm)
        if not several_processes():
            finite = bool(torch.isfinite(losses).all())
            return _Totals(float(not finite), float(bad_norm), float(stop), float(unreadable), float(faults))
        counts = torch.tensor([0.0, 0.0, float(stop), float(unreadable), float(faults)], device=losses.device)
        counts[0], counts[1] = (~torch.isfinite(losses)).sum(), bad_norm.to(losses.device)
        dist.all_reduce(counts)
        return _Totals(*counts.tolist())


class _Totals(NamedTuple):
    """Counts over all processes."""

    bad_losses: float
    bad_norms: float
    stops: float
    unreadable: float
    faults: float


def raise_fault(faults: Sequence[str]) -> None:
    """Raise DataError with the first of some faults of the data, if there is one."""
    if faults:
        raise DataError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))


def _report(seen: list[_SeenBatch]) -> dict[str, Any]:
    """The losses of this process, the ids at fault, and all ids."""
    losses = [float(one.loss.float().mean()) for one in seen]
    bad = [one for one, loss in zip(seen, losses, strict=True) if not math.isfinite(loss)]
    return {
        "losses": losses,
        "at_fault": [name for one in bad for name in _suspects(one.prediction, one.batch)],
        "ids": [name for one in seen for name in one.batch["id"]],
    }


def _suspects(prediction: Any, batch: dict[str, Any]) -> list[str]:
    """Ids whose image is not finite, else those whose prediction is not, else all ids of the batch.

    One image can spoil all predictions of a batch through a batch norm.
    """
    for tensor in (batch.get("image"), prediction):
        if isinstance(tensor, Tensor) and tensor.shape[:1] == (len(batch["id"]),):
            fine = torch.isfinite(tensor.detach()).flatten(1).all(1).tolist()
            if not all(fine):
                return [name for name, ok in zip(batch["id"], fine, strict=True) if not ok]
    return list(batch["id"])


def _incident(reports: list[dict[str, Any]], bad_loss: bool) -> dict[str, Any]:
    losses = [loss for report in reports for loss in report["losses"]]
    wrong = [loss for loss in losses if not math.isfinite(loss)]
    return {
        "what": f"the loss is {wrong[0]}" if bad_loss else "the gradient is not finite, though the loss is",
        "losses": [report["losses"] for report in reports],
        "samples": [name for report in reports for name in (report["at_fault"] if bad_loss else report["ids"])],
    }


def _error(incident: dict[str, Any], in_a_row: int, first: bool = False) -> NonFiniteLossError:
    names = incident["samples"]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    again = f" in {in_a_row} steps in a row" if in_a_row > 1 else ""
    return NonFiniteLossError(
        f"{incident['what']}{again}; training stopped before the weights changed. Samples of the batch: {shown}. "
        + (_AT_ONCE if first else _ADVICE)
    )


def check_validation(loss: Tensor, step: int) -> None:
    """Stop a run whose validation loss is not finite.

    Raises:
        NonFiniteLossError: the loss, of all processes together, is not finite.
    """
    if not torch.isfinite(loss):
        raise NonFiniteLossError(
            f"the validation loss is {float(loss)} after step {step}: an earlier step damaged the weights or "
            f"the running statistics. {_ADVICE}"
        )


def gradient_norm(parameters: list[Tensor]) -> Tensor | None:
    """2-norm of all gradients together; None if there are none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return None
    return torch.nn.utils.get_total_norm(gradients)


def record_incident(trainer: Any, incident: dict[str, Any]) -> None:
    """Append an incident to ``nonfinite.jsonl`` in the run's folder and print it; on the first process only."""
    if not trainer.is_global_zero:
        return
    path = Path(trainer.default_root_dir) / "nonfinite.jsonl"
    line = {"epoch": trainer.current_epoch, "step": trainer.global_step, **incident}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(
        f"visionattn: step {trainer.global_step}: {incident['what']}; the step was skipped. Samples: {path}",
        file=sys.stderr,
    )
