"""From a composed config to the objects of a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from omegaconf import DictConfig, OmegaConf

from visionattn import config
from visionattn.errors import ConfigError
from visionattn.reports.measure import count_gmacs, count_parameters
from visionattn.tasks.observers import PredictionCollector, Stopwatch
from visionattn.tasks.task import VisionTask

_QUIET = (
    r".*does not have many workers.*",
    r".*The number of training batches \(\d+\) is smaller than the logging interval.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
)


@dataclass
class Run:
    """The built parts of a run, before any data are read."""

    cfg: DictConfig
    task: VisionTask
    data: LightningDataModule
    trainer: Trainer
    predictions: PredictionCollector
    stopwatch: Stopwatch

    def model_facts(self) -> dict[str, str]:
        """Parameters and multiply-adds, for tables."""
        size = (self.data.in_chans, *self.data.image_size)  # type: ignore[attr-defined]
        return {
            "parameters": f"{count_parameters(self.task.backbone) + count_parameters(self.task.head):,}",
            f"GMACs at {size[1]}x{size[2]}": f"{count_gmacs(self.task, size):.4g}",
        }


def build(cfg: DictConfig, run_dir: Path, allow: Sequence[str], *, training: bool = True) -> Run:
    """Builds task, data module and trainer; reads no data.

    Args:
        cfg: composed config; ``run_dir`` is filled in.
        run_dir: folder of the run.
        allow: packages of the user's own that targets may name.
        training: with loggers, checkpoints and averaged weights.
    Raises:
        ConfigError: something does not build; the message names the config key.
    """
    for message in _QUIET:
        warnings.filterwarnings("ignore", message=message)
    OmegaConf.update(cfg, "run_dir", str(run_dir), force_add=True)
    data = config.instantiate(cfg.data, allow=allow)
    task = config.instantiate(cfg.task, allow=allow)
    task.config_text = OmegaConf.to_yaml(cfg, resolve=True)
    predictions, stopwatch = PredictionCollector(), Stopwatch()
    callbacks: list[Callback] = [predictions, stopwatch, RichProgressBar(leave=False)]
    loggers: list[Any] = []
    if training:
        callbacks += config.instantiate(cfg.callbacks, allow=allow).values() if cfg.callbacks else []
        loggers = _loggers(cfg, allow)
    trainer = config.instantiate(
        cfg.trainer,
        allow=allow,
        callbacks=[callback for callback in callbacks if callback is not None],
        logger=loggers or False,
        enable_checkpointing=training,
        enable_model_summary=False,
        default_root_dir=str(run_dir),
    )
    return Run(cfg, task, data, trainer, predictions, stopwatch)


def _loggers(cfg: DictConfig, allow: Sequence[str]) -> list[Any]:
    if cfg.logger and cfg.logger.get("wandb") and find_spec("wandb") is None:
        raise ConfigError("logger=wandb needs the package wandb, which is not installed: pip install wandb")
    return [logger for logger in (config.instantiate(cfg.logger, allow=allow) or {}).values() if logger is not None]
