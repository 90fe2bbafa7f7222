"""The figure that decides which checkpoint is best, checked before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visionattn.errors import ConfigError, did_you_mean
from visionattn.training.evaluator import Evaluator

MODES = ("max", "min")


def check_mode(monitor: str, mode: str) -> None:
    """Make sure that the best is not the worst.

    Raises:
        ConfigError: the mode is neither ``max`` nor ``min``, or a loss is to become large.
    """
    if mode not in MODES:
        raise ConfigError(f"task.monitor_mode is max or min, not {mode!r}")
    if mode == "max" and monitor.rpartition("/")[2] == "loss":
        raise ConfigError(f"task.monitor={monitor} is best where it is least: set task.monitor_mode=min")


def check_monitors(names: Sequence[str], evaluators: Mapping[str, Evaluator], has_loss: bool = True) -> None:
    """Make sure that what is monitored will be there after a validation.

    Args:
        names: what the task and callbacks monitor.
        evaluators: those of the task, set up.
        has_loss: whether validation gives a loss.

    Raises:
        ConfigError: a name that no evaluator gives; shows the nearest and all others. Where some evaluator does not
            know its figures beforehand, every name passes.
    """
    known = ["val/loss"] if has_loss else []
    for key, evaluator in evaluators.items():
        if evaluator.figures is None:
            return
        known += [f"val/{name}" if f"val/{name}" not in known else f"val/{key}_{name}" for name in evaluator.figures]
    for name in names:
        if name in known or name.startswith(("train/", "lr")):
            continue
        hint = did_you_mean(name, known, cutoff=0.5) or did_you_mean(f"val/{name}", known, cutoff=0.5)
        raise ConfigError(f"task.monitor={name}: no evaluator gives it{hint} (there are {', '.join(known)})")


def monitors_of(callbacks: Sequence[Any]) -> list[str]:
    """What callbacks monitor, checkpoints and early stopping alike."""
    return [callback.monitor for callback in callbacks if isinstance(getattr(callback, "monitor", None), str)]
