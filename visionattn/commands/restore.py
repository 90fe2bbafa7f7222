"""From a checkpoint of ``visionattn train`` back to the model: the checkpoint carries the resolved config as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionattn import config
from visionattn.errors import CheckpointError
from visionattn.tasks.task import VisionTask
from visionattn.weights import read_checkpoint


def restore(
    path: str | Path, allow: Sequence[str] = (), changes: DictConfig | None = None
) -> tuple[VisionTask, DictConfig]:
    """The task with its weights, and the config of the run that made it.

    Where weights were averaged, these are the averaged ones.

    Args:
        path: the checkpoint.
        allow: packages of the user's own that targets may name.
        changes: keys of the run's ``task`` that get another value, for instance how pictures are evaluated.

    Raises:
        CheckpointError: unreadable, unsafe, without a config, or weights that do not fit it.
        ConfigError: its config names something that may not be built.
    """
    contents = read_checkpoint(path)
    text = contents.get("config")
    if not isinstance(text, str) or "state_dict" not in contents:
        raise CheckpointError(f"{path} was not written by `visionattn train`: it has no config and weights together")
    cfg = OmegaConf.create(text)
    if not isinstance(cfg, DictConfig) or "task" not in cfg:
        raise CheckpointError(f"the config inside {path} describes no task")
    if changes:
        cfg.task = OmegaConf.merge(cfg.task, changes)
    task: VisionTask = config.instantiate(cfg.task, allow=allow)
    _load(task, contents["state_dict"], path)
    task.config_text, task.class_facts = text, contents.get("class_facts", {})
    return task, cfg


def _load(task: VisionTask, state: dict[str, Any], path: str | Path) -> None:
    try:
        task.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its own config: {error}") from error
