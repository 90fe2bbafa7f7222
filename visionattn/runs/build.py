"""From a composed config to the objects of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig, OmegaConf

from visionattn.backbones.cost import count_gmacs, count_parameters
from visionattn.config import BuildPolicy
from visionattn.errors import ConfigError
from visionattn.runs.open import OpenedRun
from visionattn.tasks.observer import Observer, observer_of
from visionattn.training.callbacks import ProgressBar, Stopwatch
from visionattn.training.checkpoints import AtomicCheckpointIO
from visionattn.training.progress import Position, StepSeeds
from visionattn.training.signals import StopSignals
from visionattn.training.task import VisionTask, global_batch

_QUIET = (
    r".*does not have many workers.*",
    r".*The number of training batches \(\d+\) is smaller than the logging interval.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",  # what is logged is already reduced
    r".*Experiment logs directory .* exists and is not empty.*",
)


@dataclass
class Run:
    """The built parts of a run, before any data are read."""

    data_config: DictConfig
    task: VisionTask
    data: LightningDataModule
    trainer: Trainer
    observer: Observer
    stopwatch: Stopwatch
    checkpoint_io: AtomicCheckpointIO

    def fit(self, resumed: OpenedRun | None = None) -> None:
        """Train, from the beginning or from an opened checkpoint, whose contents are not read again."""
        path = resumed.path if resumed else None
        if (
            resumed
            and resumed.path.is_file()
            and type(self.trainer.strategy).load_checkpoint is Strategy.load_checkpoint
        ):
            self.checkpoint_io.hand_in(resumed.path, resumed.hand_over())
        self.trainer.fit(self.task, datamodule=self.data, ckpt_path=path, weights_only=True)

    @property
    def batch(self) -> int:
        """Images per optimizer step."""
        return global_batch(self.trainer, self.data)

    def batch_facts(self) -> dict[str, str]:
        """Images per optimizer step and the peak learning rate that follows from them, for tables."""
        trainer = self.trainer
        processes, accumulated = trainer.num_devices * trainer.num_nodes, trainer.accumulate_grad_batches
        parts = f"{self.data.batch_size} x {processes} process(es) x {accumulated} accumulated"  # type: ignore[attr-defined]
        return {
            "images per step": f"{self.batch} = {parts}",
            "learning rate": self.task.describe_lr(self.batch),
        }

    def model_facts(self) -> dict[str, str]:
        """Parameters and multiply-adds, for tables."""
        size = (self.data.in_chans, *self.data.image_size)  # type: ignore[attr-defined]
        return {
            "parameters": f"{count_parameters(self.task.backbone) + count_parameters(self.task.head):,}",
            f"GMACs at {size[1]}x{size[2]}": f"{count_gmacs(self.task, size):.4g}",
        }


def build(cfg: DictConfig, run_dir: Path, policy: BuildPolicy, resumed_step: int | None = None) -> Run:
    """Builds task, data module and trainer of a training run; reads no data.

    Args:
        cfg: composed ``train.yaml``; ``run_dir`` is filled in.
        run_dir: folder of the run.
        policy: what configurations may build.
        resumed_step: the optimizer step at which the run is resumed; None: it begins.

    Raises:
        ConfigError: something does not build; the message names the config key.
    """
    OmegaConf.update(cfg, "run_dir", str(run_dir), force_add=True)
    task = policy.instantiate(cfg.task)
    task.config_text = OmegaConf.to_yaml(cfg, resolve=True)
    for name, key in (("csv", "goes_on_at"), ("tensorboard", "purge_step")):
        if resumed_step and cfg.logger and cfg.logger.get(name):  # what was logged after that step comes again
            OmegaConf.update(cfg, f"logger.{name}.{key}", resumed_step, force_add=True)
    callbacks = [StepSeeds(cfg.seed), Position(), StopSignals()]
    callbacks += (policy.instantiate(cfg.callbacks) or {}).values()
    return _run(cfg, task, cfg.data, run_dir, policy, callbacks, _loggers(cfg, policy))


def build_evaluation(cfg: DictConfig, task: VisionTask, data: DictConfig, run_dir: Path, policy: BuildPolicy) -> Run:
    """Builds data module and trainer around a restored task, without loggers and checkpoints."""
    return _run(cfg, task, data, run_dir, policy, [], [])


def _run(
    cfg: DictConfig,
    task: VisionTask,
    data: DictConfig,
    run_dir: Path,
    policy: BuildPolicy,
    callbacks: Sequence[Callback | None],
    loggers: list[Any],
) -> Run:
    for message in _QUIET:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    observer, stopwatch, checkpoint_io = observer_of(task), Stopwatch(), AtomicCheckpointIO()
    watching: list[Callback] = [observer, stopwatch, ProgressBar(leave=False)]
    trainer = policy.instantiate(
        cfg.trainer,
        callbacks=watching + [callback for callback in callbacks if callback is not None],
        logger=loggers or False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        plugins=[checkpoint_io],
        default_root_dir=str(run_dir),
    )
    return Run(data, task, policy.instantiate(data), trainer, observer, stopwatch, checkpoint_io)


def _loggers(cfg: DictConfig, policy: BuildPolicy) -> list[Any]:
    if cfg.logger and cfg.logger.get("wandb") and find_spec("wandb") is None:
        raise ConfigError("logger=wandb needs the package wandb, which is not installed: pip install wandb")
    return [logger for logger in (policy.instantiate(cfg.logger) or {}).values() if logger is not None]
