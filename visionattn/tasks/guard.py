"""Stopping all processes together, before the weights change, when one of them has met something it cannot go on
with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from visionattn.errors import NonFiniteLossError, VisionAttnError


def stop_together(loss: Tensor | None, prediction: Any, batch: dict[str, Any], error: Exception | None = None) -> None:
    """Raises on every process if any process has a non-finite loss or an error; otherwise returns.

    Call it at the same point on every process, after the forward and before the backward pass: weights and optimizer
    state are then untouched.

    Args:
        loss: scalar loss; None where there is only an error to share.
        prediction: the model's output, to find the samples that are at fault.
        batch: with ``image`` and ``id``.
        error: what this process wants to stop for.
    Raises:
        NonFiniteLossError: with the ids of the samples, on every process.
        VisionAttnError: another process' error, by its message.
    """
    bad_loss = loss is not None and not bool(torch.isfinite(loss).all())
    trouble = [int(bad_loss), int(error is not None)]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        device = loss.device if loss is not None else _collective_device()
        flags = torch.tensor(trouble, device=device)
        dist.all_reduce(flags)
        if flags.any():
            _raise(_gather(_report(bad_loss, loss, prediction, batch, error)), error)
    elif any(trouble):
        _raise([_report(bad_loss, loss, prediction, batch, error)], error)


def _collective_device() -> torch.device:
    """Where the current process group can reduce a tensor: the GPU for NCCL, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _report(
    bad_loss: bool, loss: Tensor | None, prediction: Any, batch: dict[str, Any], error: Exception | None
) -> tuple:
    """This process' part: (value of the loss, ids of the samples at fault, message of its error)."""
    if not bad_loss:
        return None, [], str(error) if error else None
    assert loss is not None
    return float(loss.detach().float().mean()), _suspects(prediction, batch), str(error) if error else None


def _suspects(prediction: Any, batch: dict[str, Any]) -> list[str]:
    """Ids whose image or prediction is not finite; all ids of the batch if none stands out."""
    fine = torch.ones(len(batch["id"]), dtype=torch.bool)
    for tensor in (batch.get("image"), prediction):
        if isinstance(tensor, Tensor) and tensor.shape[:1] == (len(fine),):
            fine &= torch.isfinite(tensor.detach()).flatten(1).all(1).cpu()
    return [name for name, ok in zip(batch["id"], fine.tolist(), strict=True) if not ok] or list(batch["id"])


def _gather(report: tuple) -> list[tuple]:
    reports: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(reports, report)
    return reports


def _raise(reports: list[tuple], error: Exception | None) -> None:
    values = [value for value, _, _ in reports if value is not None]
    if values:
        ids = [name for _, names, _ in reports for name in names]
        shown = ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
        raise NonFiniteLossError(
            f"the loss is {values[0]}; training stopped before the weights changed. Samples of the batch: {shown}. "
            "Usual causes: a learning rate that is too high, fp16 overflow (trainer.precision=bf16-mixed helps), "
            "broken images"
        )
    raise error or VisionAttnError(next(message for _, _, message in reports if message))
