"""The model and the folder of a command that looks at a user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from visionattn.config import BuildPolicy
from visionattn.errors import ConfigError
from visionattn.runs.classifier import published_classifier, untrained_classifier
from visionattn.runs.open import open_run
from visionattn.training.task import VisionTask

LARGEST_BATCH = 32
"""Images at once, where nobody says how many."""


def user_model(
    cfg: DictConfig, policy: BuildPolicy, command: str, untrained: bool = False
) -> tuple[VisionTask, Any, str]:
    """The task with its weights, its data module, not set up, and where the weights came from.

    Args:
        cfg: has ``ckpt``, ``backbone``, ``backbone_name`` and ``weights``.
        policy: what configurations may build.
        command: its name, for messages.
        untrained: whether a backbone without weights will do; it gets random ones.

    Raises:
        ConfigError: neither or both of a checkpoint and a backbone.
        CheckpointError: unusable weights.
    """
    if cfg.ckpt is not None:
        if cfg.weights is not None or cfg.get("backbone") is not None:
            raise ConfigError("give either ckpt=<a run or its checkpoint> or backbone=... weights=..., not both")
        opened = open_run(cfg.ckpt, policy, hashed=False)
        return opened.task, opened.data(), str(opened.path)
    if untrained and cfg.get("backbone") is not None and cfg.weights is None:
        return *untrained_classifier(cfg, policy), f"{cfg.backbone_name}, random weights"
    if cfg.get("backbone") is None or cfg.weights is None:
        raise ConfigError(
            f"{command} needs ckpt=<a run or its checkpoint>, or a published classifier: backbone=swin_tiny "
            "weights=timm (or weights=<file>)"
        )
    return *published_classifier(cfg, policy), f"{cfg.backbone_name}, {cfg.weights}"


def on_device(task: VisionTask, device: str | None) -> None:
    """Bring the task to a device, ready to predict.

    Raises:
        ConfigError: there is no such device.
    """
    chosen = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        task.to(torch.device(chosen)).eval()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={chosen} cannot be used: {str(error).splitlines()[0]}") from None


def output_folder(cfg: DictConfig, run_dir: Path) -> Path:
    """The folder for the output.

    Raises:
        ConfigError: it is a file, or holds something and is not to be overwritten.
    """
    folder = Path(cfg.dir).expanduser() if cfg.dir else run_dir
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"dir={folder} is a file; name a folder")
    if cfg.dir and folder.is_dir() and any(folder.iterdir()) and not cfg.overwrite:
        raise ConfigError(f"dir={folder} holds something already: name another folder, or add overwrite=true")
    return folder
