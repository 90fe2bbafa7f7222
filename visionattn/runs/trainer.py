"""Lightning's trainer from its configuration, and its own errors as sentences that name a key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from visionattn.config import BuildPolicy
from visionattn.config.messages import one_line, plain
from visionattn.errors import ConfigError
from visionattn.runs.memory import keep_freed_memory

Rule = tuple[Callable[[Any], bool], str]
_CLUES = (TypeError, ValueError, AttributeError, ZeroDivisionError, AssertionError, ImportError, RuntimeError)


def _whole(least: int) -> Rule:
    return lambda value: _is_whole(value) and value >= least, f"a whole number from {least} on"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(what: str) -> Rule:
    """A number of batches (whole), or a share of them (with a point)."""
    return (
        lambda value: (_is_whole(value) and value >= 0) or (isinstance(value, float) and 0 <= value <= 1),
        f"a whole number of {what}, or a share of them from 0.0 to 1.0",
    )


def _limit(what: str) -> Rule:
    return lambda value: _is_whole(value) and value >= -1, f"a whole number of {what}, or -1 for no limit"


_FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
_RULES: dict[str, Rule] = {
    "max_epochs": _limit("epochs"),
    "max_steps": _limit("optimizer steps"),
    "min_epochs": _whole(0),
    "min_steps": _whole(0),
    "num_nodes": _whole(1),
    "precision": (
        lambda value: str(value) in ("32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16"),
        "32-true, bf16-mixed or 16-mixed: weights, running statistics and losses are kept in float32",
    ),
    "accumulate_grad_batches": _whole(1),
    "check_val_every_n_epoch": _whole(1),
    "log_every_n_steps": _whole(1),
    "num_sanity_val_steps": (
        lambda value: _is_whole(value) and value >= -1,
        "a whole number of batches, or -1 for all",
    ),
    "gradient_clip_val": (
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf,
        "a number from 0 on (0 or null: the gradient is not clipped)",
    ),
    "gradient_clip_algorithm": (lambda value: value in ("norm", "value"), "norm or value"),
    "limit_train_batches": (
        lambda value: _share("")[0](value) and value > 0,
        "a whole number of batches from 1 on, or a share of an epoch up to 1.0 (trainer.max_epochs=0 trains nothing)",
    ),
    "limit_val_batches": _share("batches"),
    "overfit_batches": _share("batches"),
    "val_check_interval": (
        lambda value: isinstance(value, (str, dict)) or (_share("")[0](value) and value > 0),
        "a whole number of batches from 1 on, a share of an epoch up to 1.0, or a time such as 00:01:00:00",
    ),
    "max_time": (
        lambda value: isinstance(value, dict) or re.fullmatch(r"\d+:\d\d:\d\d:\d\d", str(value)) is not None,
        "a time as DD:HH:MM:SS (00:12:00:00: twelve hours), or {hours: 12}",
    ),
    "profiler": (
        lambda value: isinstance(value, (str, dict)),
        "simple, advanced, pytorch, xla or the _target_ of a profiler",
    ),
    "fast_dev_run": (lambda value: isinstance(value, int) and value >= 0, "true, false or a whole number of batches"),
    "detect_anomaly": _FLAG,
    "benchmark": _FLAG,
    "enable_progress_bar": _FLAG,
    "sync_batchnorm": _FLAG,
    "deterministic": (lambda value: isinstance(value, bool) or value == "warn", "true, false or warn"),
    "use_distributed_sampler": (
        lambda value: value is False,
        "false: the data divide themselves among the processes, and a second division would leave images out",
    ),
}
"""Key -> what Lightning needs, where it would go on with another value in silence or fail far from the key."""

_CHOICES = ("accelerator", "strategy", "precision", "devices", "plugins")
"""Keys of which one is meant where a message of Lightning names none."""
PROFILE = "profile"
_PROFILERS: dict[Any, Callable[..., Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}
"""Lightning's profilers by its own names; without a folder they would write into a log that is not shown."""


def build_trainer(policy: BuildPolicy, node: DictConfig, **given: Any) -> Trainer:
    """Build the trainer that a configuration describes.

    Args:
        policy: what configurations may build.
        node: the configuration's ``trainer``.
        **given: further arguments, over those of the node.

    Raises:
        ConfigError: a value that it cannot have; names the key.
    """
    values = plain(node)
    check_values(values)
    if values.get("profiler") in _PROFILERS:
        given["profiler"] = _PROFILERS[values["profiler"]](dirpath=given["default_root_dir"], filename=PROFILE)
    try:
        with explained(values):
            trainer: Trainer = policy.instantiate(node, **given)
    except ConfigError as error:
        if error.__cause__ is None or not str(error).startswith("trainer:"):
            raise
        raise _sentence(error.__cause__, values) from error.__cause__
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    return trainer


def profile_files(trainer: Trainer) -> list[Path]:
    """Files that the profiler of a trainer has written, or will have at its end."""
    profiler: Any = trainer.profiler  # type: ignore[attr-defined]
    folder, name = getattr(profiler, "dirpath", None), getattr(profiler, "filename", None)
    return sorted(Path(folder).glob(f"*{name}*")) if folder and name else []


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values of the trainer that Lightning takes in silence, or fails about far from their key.

    Raises:
        ConfigError: names the key, the value, and what it may be.
    """
    for key, (holds, wanted) in _RULES.items():
        value = values.get(key)
        if value is not None and not holds(value):
            raise ConfigError(f"trainer.{key} is {wanted}, not {value!r}")
    if values.get("max_epochs") in (None, -1) and values.get("max_steps") in (None, -1):
        raise ConfigError(
            "a training needs an end, which its learning rate follows: set trainer.max_epochs or trainer.max_steps "
            "(trainer.max_time may stop it before)"
        )
    if values.get("accelerator") in ("gpu", "cuda") and not _has_gpu(values["accelerator"]):
        raise ConfigError(
            f"trainer.accelerator={values['accelerator']}: torch finds no GPU on this machine; trainer=cpu trains "
            "without one, trainer.accelerator=auto takes what there is"
        )


def _has_gpu(accelerator: str) -> bool:
    return torch.cuda.is_available() or (accelerator == "gpu" and torch.backends.mps.is_available())


@contextmanager
def explained(values: Mapping[str, Any]) -> Iterator[None]:
    """Turn what Lightning itself refuses inside the block into one sentence.

    Args:
        values: of the configuration's ``trainer``.

    Raises:
        ConfigError: Lightning raised an error of its own. Errors that come from elsewhere pass.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise _sentence(error, values) from error
    except _CLUES as error:
        if not _raised_by_lightning(error):
            raise
        raise _sentence(error, values) from error


def _raised_by_lightning(error: BaseException) -> bool:
    """Whether the error began in Lightning's code, not in a task, a callback or data that it called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("lightning.")


def _sentence(error: BaseException, values: Mapping[str, Any]) -> ConfigError:
    text = one_line(error)
    culprit = _culprit(text, values)
    chosen = [culprit] if culprit else [key for key in _CHOICES if key in values]
    where = " or ".join(f"trainer.{key}={values[key]}" for key in chosen) or "trainer"
    return ConfigError(f"Lightning refuses {where}: {text}")


def _culprit(text: str, values: Mapping[str, Any]) -> str:
    """The key that a message of Lightning speaks of: by its name, else by its value; empty if it names none."""
    words = re.findall(r"\w+", text)
    named = [key for key in values if key in words]
    if named:
        return min(named, key=words.index)
    return next((key for key, value in values.items() if isinstance(value, str) and value in words), "")
