"""The weights that a training starts from where it shares them with another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from torch import Tensor, nn

from visionattn.config import BuildPolicy
from visionattn.config.stored import parse_config
from visionattn.errors import ConfigError


def shared_parameters(model: nn.Module, other: nn.Module) -> dict[str, int]:
    """Parameters that two models have in common, by name and shape: name -> number of scalars."""
    theirs = {name: param.shape for name, param in other.named_parameters()}
    return {name: param.numel() for name, param in model.named_parameters() if theirs.get(name) == param.shape}


def start_as(task: nn.Module, cfg: DictConfig, policy: BuildPolicy) -> None:
    """Give parameters the values with which another training starts from the same seed, where name and shape agree.

    The other training's task is built as ``visionattn train`` builds it. Random states are afterwards as before.

    Args:
        task: whose parameters are set, in place.
        cfg: of the training; ``start_as`` is the other one's configuration, a YAML file.
        policy: what configurations may build.

    Raises:
        ConfigError: the file cannot be read, names what it may not, or no parameter agrees.
    """
    path = Path(str(cfg.start_as))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"start_as={path} cannot be read: {error.strerror}") from error
    other = parse_config(text, path)
    policy.check(other)
    with isolate_rng():
        seed_everything(cfg.seed, verbose=False)
        reference: nn.Module = policy.instantiate(other.task)
    if not shared_parameters(task, reference):
        raise ConfigError(f"start_as={path}: no parameter has the name and the shape of one of this model")
    _copy(dict(reference.named_parameters()), task)


def _copy(values: Mapping[str, Tensor], task: Any) -> None:
    for name, param in task.named_parameters():
        if name in values and values[name].shape == param.shape:
            param.data.copy_(values[name].data)
