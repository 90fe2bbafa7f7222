"""From a checkpoint of ``visionattn train`` back to the model: the checkpoint carries the resolved config as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.renames import with_new_names
from visionattn.errors import CheckpointError
from visionattn.training.task import VisionTask
from visionattn.weights import read_checkpoint

_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEPEST = 64


def restore(
    path: str | Path, policy: BuildPolicy = DEFAULT_POLICY, changes: DictConfig | None = None
) -> tuple[VisionTask, DictConfig]:
    """The task with its weights, and the config of the run that made it.

    Where weights were averaged, these are the averaged ones.

    Args:
        path: the checkpoint.
        policy: what configurations may build.
        changes: keys of the run's ``task`` that get another value, for instance how pictures are evaluated.

    Raises:
        CheckpointError: unreadable, unsafe, without a config, or weights that do not fit it.
        ConfigError: its config names something that may not be built.
    """
    contents = read_checkpoint(path)
    text = contents.get("config")
    if not isinstance(text, str) or "state_dict" not in contents:
        raise CheckpointError(f"{path} was not written by `visionattn train`: it has no config and weights together")
    cfg = parse_config(text, path)
    if changes:
        cfg.task = OmegaConf.merge(cfg.task, changes)
    task: VisionTask = policy.instantiate(cfg.task)
    _load(task, contents["state_dict"], path)
    task.config_text, task.class_info = text, contents.get("class_facts", {})
    return task, cfg


def parse_config(text: Any, path: str | Path) -> DictConfig:
    """The config text of a checkpoint.

    Raises:
        CheckpointError: it is no YAML, describes no task, or has what no run writes: aliases, which a few lines can
            unfold into billions of values with.
    """
    if not isinstance(text, str):
        raise CheckpointError(f"the config inside {path} is a {type(text).__name__}, not text")
    try:
        _check_yaml(text, path)
        cfg = OmegaConf.create(text)
        cfg = OmegaConf.create(with_new_names(OmegaConf.to_container(cfg)))  # unresolved
    except (yaml.YAMLError, OmegaConfBaseException, RecursionError, ValueError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(f"the config inside {path} cannot be read: {first}") from error
    if not isinstance(cfg, DictConfig) or "task" not in cfg or cfg.task is None:
        raise CheckpointError(f"the config inside {path} describes no task")
    return cfg


def _check_yaml(text: str, path: str | Path) -> None:
    """
    Raises:
        CheckpointError: aliases, or nesting that no run writes.
    """
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise CheckpointError(f"the config inside {path} is refused: it has YAML aliases, which no run writes")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _DEEPEST:
            raise CheckpointError(f"the config inside {path} is refused: it is nested more than {_DEEPEST} deep")


def _load(task: VisionTask, state: dict[str, Any], path: str | Path) -> None:
    try:
        task.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its own config: {error}") from error
