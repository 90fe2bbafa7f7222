"""What the processes of a run must decide together, once per optimizer step and before the weights change: whether a
loss or a gradient is not finite, whether to stop, how many images could not be read, whether labels cannot be right.

One small reduction carries all of it. It comes right before the optimizer's step, when the gradients have just been
reduced and the processes stand at the same point anyway.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from visionattn.errors import ConfigError, DataError, NonFiniteLossError

Records = list[tuple[str, str]]
POLICIES = ("stop", "skip")
_ADVICE = (
    "Usual causes: a learning rate that is too high, fp16 overflow (trainer.precision=bf16-mixed helps), broken images"
)


def several_processes() -> bool:
    """Whether there is anybody to agree with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def collective_device() -> torch.device:
    """Where the current process group can reduce a tensor: the GPU for NCCL, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def gather(part: Any) -> list[Any]:
    """The parts of all processes, on every process."""
    if not several_processes():
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def any_process(flag: bool) -> bool:
    """Whether the flag is raised on any process. Call it on all of them."""
    if not several_processes():
        return flag
    flags = torch.tensor([int(flag)], device=collective_device())
    dist.all_reduce(flags)
    return bool(flags.item())


def mean_of_processes(value: float) -> Tensor:
    """A number, averaged over all processes. Call it on all of them."""
    if not several_processes():
        return torch.tensor(float(value))
    total = torch.tensor(float(value), device=collective_device())
    dist.all_reduce(total)
    return total / dist.get_world_size()


@dataclass
class Verdict:
    """What all processes decided, the same on each.

    Attributes:
        skip: leave the weights as they are in this step.
        stop: save and leave after this step.
        unreadable: images that could not be read, first met since the last step, of all processes.
        incident: what was not finite, for the run's records; empty if nothing was.
    """

    skip: bool = False
    stop: bool = False
    unreadable: Records = field(default_factory=list)
    incident: dict[str, Any] = field(default_factory=dict)


class StepGuard:
    """Collects what one process meets between two optimizer steps.

    Args:
        policy: what to do about a loss or gradient that is not finite: ``stop`` raises, ``skip`` leaves this step out
            on all processes and goes on.
        patience: skipped steps in a row after which ``skip`` stops too.
    Raises:
        ConfigError: there is no such policy.
    """

    def __init__(self, policy: str = "stop", patience: int = 10) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"nonfinite is one of {', '.join(POLICIES)}, got {policy!r}")
        self.policy, self.patience = policy, patience
        self.in_a_row = 0
        self._seen: list[tuple[Tensor, Any, dict[str, Any]]] = []
        self._unreadable: Records = []
        self._faults: list[str] = []

    @property
    def at_start(self) -> bool:
        """Whether the next batch is the first one of an optimizer step."""
        return not self._seen

    def see(self, loss: Tensor, prediction: Any, batch: dict[str, Any], unreadable: Records) -> None:
        """One batch after its forward pass. Costs nothing on the device."""
        if self._seen:  # gradients are being accumulated; keeping every batch alive would cost memory
            before, _, names = self._seen[-1]
            self._seen[-1] = (before, None, {"id": names["id"]})
        self._seen.append((loss.detach(), prediction, batch))
        self._unreadable += unreadable

    def fault(self, message: str) -> None:
        """Something about the data that must stop the run, met by this process: the next verdict raises it on all."""
        self._faults.append(message)

    def decide(self, norm: Tensor | None, stop: bool, overflow_is_normal: bool = False) -> Verdict:
        """The common verdict on everything seen since the last call. Every process calls it at the same step.

        Args:
            norm: norm of the gradient; None: not known.
            stop: whether this process was asked to stop.
            overflow_is_normal: the gradient is scaled (fp16) and the scaler sees to overflows itself.
        Raises:
            NonFiniteLossError: with the ids of the samples, on every process, unless this step is to be skipped.
            DataError: some process met a fault of the data; the same message on every process.
        """
        seen, self._seen = self._seen, []
        unreadable, self._unreadable = self._unreadable, []
        faults, self._faults = self._faults, []
        if not seen:
            return Verdict()
        bad_loss, bad_norm, stopping, news, faulty = self._shared(seen, norm, stop, len(unreadable), len(faults))
        if faulty:
            raise_faults(faults)
        verdict = Verdict(stop=stopping > 0)
        if news:
            verdict.unreadable = [record for part in gather(unreadable) for record in part]
        if bad_loss or (bad_norm and not overflow_is_normal):
            verdict.incident = _incident(gather(_report(seen)), bool(bad_loss))
            self.in_a_row += 1
            if self.policy == "stop" or self.in_a_row > self.patience:
                raise _error(verdict.incident, self.in_a_row)
            verdict.skip = True
        else:
            self.in_a_row = 0
        return verdict

    @staticmethod
    def _shared(seen: list[Any], norm: Tensor | None, stop: bool, news: int, faults: int) -> list[float]:
        """(losses not finite, gradients not finite, processes to stop, unreadable images, faults) of all processes."""
        losses = torch.stack([loss.float().mean() for loss, _, _ in seen])
        if norm is not None and hasattr(norm, "full_tensor"):  # its parts lie on several processes
            norm = norm.full_tensor()
        bad_norm = torch.zeros((), dtype=torch.bool) if norm is None else ~torch.isfinite(norm)
        if not several_processes():
            finite = bool(torch.isfinite(losses).all())
            return [float(not finite), float(bad_norm), float(stop), float(news), float(faults)]
        facts = torch.tensor([0.0, 0.0, float(stop), float(news), float(faults)], device=losses.device)
        facts[0], facts[1] = (~torch.isfinite(losses)).sum(), bad_norm.to(losses.device)
        dist.all_reduce(facts)
        return facts.tolist()


def raise_faults(faults: list[str]) -> None:
    """Raises DataError on every process, with the first fault that one of them met; all of them call it."""
    found = [fault for part in gather(faults) for fault in part]
    if found:
        raise DataError(found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""))


def _report(seen: list[tuple[Tensor, Any, dict[str, Any]]]) -> dict[str, Any]:
    """This process' part: its losses, the ids at fault, and all ids."""
    losses = [float(loss.float().mean()) for loss, _, _ in seen]
    bad = [entry for entry, loss in zip(seen, losses, strict=True) if loss - loss != 0]  # infinite or not a number
    return {
        "losses": losses,
        "at_fault": [name for _, prediction, batch in bad for name in _suspects(prediction, batch)],
        "ids": [name for _, _, batch in seen for name in batch["id"]],
    }


def _suspects(prediction: Any, batch: dict[str, Any]) -> list[str]:
    """Ids whose image is not finite, else those whose prediction is not (which one image can spoil for all of them,
    through a batch norm); all ids of the batch if none stands out.
    """
    for tensor in (batch.get("image"), prediction):
        if isinstance(tensor, Tensor) and tensor.shape[:1] == (len(batch["id"]),):
            fine = torch.isfinite(tensor.detach()).flatten(1).all(1).tolist()
            if not all(fine):
                return [name for name, ok in zip(batch["id"], fine, strict=True) if not ok]
    return list(batch["id"])


def _incident(reports: list[dict[str, Any]], bad_loss: bool) -> dict[str, Any]:
    losses = [loss for report in reports for loss in report["losses"]]
    wrong = [loss for loss in losses if loss - loss != 0]
    return {
        "what": f"the loss is {wrong[0]}" if bad_loss else "the gradient is not finite, though the loss is",
        "losses": [report["losses"] for report in reports],
        "samples": [name for report in reports for name in (report["at_fault"] if bad_loss else report["ids"])],
    }


def _error(incident: dict[str, Any], in_a_row: int) -> NonFiniteLossError:
    names = incident["samples"]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    again = f" in {in_a_row} steps in a row" if in_a_row > 1 else ""
    return NonFiniteLossError(
        f"{incident['what']}{again}; training stopped before the weights changed. Samples of the batch: {shown}. "
        + _ADVICE
    )


def check_validation(loss: Tensor, step: int) -> None:
    """A run whose validation gives no number has nothing more to learn.

    Raises:
        NonFiniteLossError: the loss, of all processes together, is not finite.
    """
    if not torch.isfinite(loss):
        raise NonFiniteLossError(
            f"the validation loss is {float(loss)} after step {step}: the steps before it have spoiled the weights or "
            f"the running statistics. {_ADVICE}"
        )


def gradient_norm(parameters: list[Tensor]) -> Tensor | None:
    """2-norm of all gradients together; None where there are none."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return None
    return torch.nn.utils.get_total_norm(gradients)


def record_incident(trainer: Any, incident: dict[str, Any]) -> None:
    """Appends what was not finite to ``nonfinite.jsonl`` in the run's folder, and says so; on the first process."""
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
