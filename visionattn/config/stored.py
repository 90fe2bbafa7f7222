"""The configuration that a checkpoint or an export holds as text: parsed as data, with names of now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionattn.config.renames import with_new_names
from visionattn.errors import CheckpointError

_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEPEST = 64


def parse_config(text: Any, path: str | Path) -> DictConfig:
    """Parse the config text of a checkpoint.

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
    """Refuse what no run writes.

    Raises:
        CheckpointError: aliases, or nesting deeper than that of any run.
    """
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise CheckpointError(f"the config inside {path} is refused: it has YAML aliases, which no run writes")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _DEEPEST:
            raise CheckpointError(f"the config inside {path} is refused: it is nested more than {_DEEPEST} deep")
