"""From a composed config to the objects of a run."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig, OmegaConf

from visionattn.backbones.checks import mixers_checked
from visionattn.backbones.cost import count_gmacs, count_parameters
from visionattn.config import BuildPolicy
from visionattn.config.messages import flat_keys, value_at
from visionattn.data import ClassificationData, VisionData
from visionattn.errors import ConfigError, counted
from visionattn.runs.log import Unlogged
from visionattn.runs.open import OpenedRun
from visionattn.runs.table import Figure
from visionattn.runs.talking import Talking
from visionattn.runs.trainer import build_trainer
from visionattn.tasks.observer import Observer, observer_of
from visionattn.training.accumulation import global_batch
from visionattn.training.callbacks import ProgressBar, Stopwatch
from visionattn.training.checkpoints import AtomicCheckpointIO
from visionattn.training.progress import LoopProgress, StepSeeds
from visionattn.training.signals import StopSignals
from visionattn.training.task import VisionTask

_QUIET = (
    r".*does not have many workers.*",
    r".*The number of training batches \(\d+\) is smaller than the logging interval.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",  # what is logged is already reduced
    r".*Experiment logs directory .* exists and is not empty.*",
)

_FROZEN = r"Found \d+ module\(s\) in eval mode.*"  # which is what task.freeze asks for


@dataclass
class Run:
    """What a training or an evaluation is made of, before any data are read.

    Attributes:
        data_config: the configuration that the data module was built from.
        task: the model in its task.
        data: the data module.
        trainer: Lightning's.
        observer: what the task reports about a validation.
        stopwatch: images per second.
        talking: what is said while it runs; None: nothing, as in an evaluation.
    """

    data_config: DictConfig
    task: VisionTask
    data: VisionData[Any]
    trainer: Trainer
    observer: Observer
    stopwatch: Stopwatch
    talking: Talking | None = None

    @property
    def batch(self) -> int:
        """Images per optimizer step."""
        return global_batch(self.trainer, self.data)

    def facts(self, cfg: DictConfig) -> dict[str, Figure]:
        """Name, size, batch and learning rate of a training, for tables.

        Raises:
            ConfigError: optimizer or schedule do not build. They are built once for nothing, so that a wrong value is
                found before the data are read.
        """
        trainer, task = self.trainer, self.task
        try:
            built = task.build_optimizer(total_steps=1000, steps_per_epoch=100, batch=self.batch)
        except (TypeError, ValueError) as error:
            given = {group: OmegaConf.to_container(cfg[group], resolve=True) for group in ("optim", "schedule")}
            values = {key: value_at(given, key) for key in flat_keys(given) if "._" not in key}
            told = ", ".join(f"{key}={value}" for key, value in values.items() if not isinstance(value, dict))
            raise ConfigError(f"the optimizer or its schedule does not build: {error} ({told})") from error
        processes, accumulated = trainer.num_devices * trainer.num_nodes, trainer.accumulate_grad_batches
        per_process = f"{self.data.batch_size} per process, {counted(processes, 'process', 'processes')}"
        steps = f"{accumulated} accumulated steps" if accumulated > 1 else "no accumulation"
        by_size = self.data.told_sizes(processes) if isinstance(self.data, ClassificationData) else ""
        sizes = f"; batches by turns, before accumulation: {by_size}" if by_size else ""
        facts = {
            "model": Figure(str(cfg.name), str(cfg.name)),
            **self.model_facts(),
            "images per step": Figure(self.batch, f"{self.batch} ({per_process}, {steps}){sizes}"),
            "learning rate": Figure(built["optimizer"].defaults.get("lr"), task.describe_lr(self.batch)),
        }
        return facts if cfg.weights is None else facts | {"weights": Figure(str(cfg.weights), str(cfg.weights))}

    def model_facts(self) -> dict[str, Figure]:
        """Parameters and multiply-adds, for tables."""
        height, width = self.data.image_size
        with mixers_checked(self.task.backbone):
            gmacs = count_gmacs(self.task, (self.data.in_chans, height, width))
        parameters = count_parameters(self.task.backbone) + count_parameters(self.task.head)
        return {
            "parameters": Figure(parameters, f"{parameters:,}"),
            f"GMACs at {height}x{width}": Figure(gmacs, f"{gmacs:.4g}"),
        }


def build(
    cfg: DictConfig, run_dir: Path, policy: BuildPolicy, resumed: OpenedRun | None = None, shapes_alone: bool = False
) -> Run:
    """Build task, data module and trainer of a training run. No data are read.

    Args:
        cfg: composed ``train.yaml``; ``run_dir`` is filled in.
        run_dir: folder of the run.
        policy: what configurations may build.
        resumed: the checkpoint that the run resumes from, which Lightning then does not read again; None: it begins.
        shapes_alone: give the model tensors without contents, on PyTorch's ``meta`` device: nothing is drawn.

    Raises:
        ConfigError: something does not build; the message names the config key.
    """
    OmegaConf.update(cfg, "run_dir", str(run_dir), force_add=True)
    with torch.device("meta") if shapes_alone else nullcontext():
        task: VisionTask = policy.instantiate(cfg.task)
    clip, adaptive = cfg.trainer.get("gradient_clip_val"), task.options.adaptive_clip
    if clip and adaptive:
        raise ConfigError(
            f"task.adaptive_clip={adaptive} clips the gradient, and so does trainer.gradient_clip_val={clip}: set one "
            "of them to null"
        )
    task.config_text = OmegaConf.to_yaml(cfg, resolve=True)
    logged = cfg.get("logger")
    step = resumed.contents.get("global_step") if resumed else None
    for name, key in (("csv", "goes_on_at"), ("tensorboard", "purge_step")):
        if step and logged and logged.get(name):  # what was logged after that step comes again
            OmegaConf.update(cfg, f"logger.{name}.{key}", step, force_add=True)
    if logged and logged.get("wandb") and find_spec("wandb") is None:
        raise ConfigError("logger=wandb needs the package wandb, which is not installed: pip install wandb")
    callbacks: list[Callback] = [StepSeeds(cfg.seed), LoopProgress(), StopSignals()]
    own, loggers = _callbacks_and_loggers(cfg, policy)
    callbacks += own
    stopwatch = Stopwatch()
    talking = Talking(stopwatch)
    return _run(cfg, task, cfg.data, run_dir, policy, stopwatch, [talking, *callbacks], loggers, resumed)


def _callbacks_and_loggers(cfg: DictConfig, policy: BuildPolicy) -> tuple[list[Callback], list[Logger]]:
    """What the configuration names of both; each group may be left out."""
    own, loggers = (
        [one for one in (policy.instantiate(cfg.get(group)) or {}).values() if one is not None]
        for group in ("callbacks", "logger")
    )
    if not loggers:
        own = [callback for callback in own if not isinstance(callback, LearningRateMonitor)]  # it tells them alone
    return own, loggers


def build_evaluation(cfg: DictConfig, task: VisionTask, data: DictConfig, run_dir: Path, policy: BuildPolicy) -> Run:
    """Build data module and trainer around a task with weights, without loggers and checkpoints."""
    return _run(cfg, task, data, run_dir, policy, Stopwatch())


def _run(
    cfg: DictConfig,
    task: VisionTask,
    data: DictConfig,
    run_dir: Path,
    policy: BuildPolicy,
    stopwatch: Stopwatch,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    resumed: OpenedRun | None = None,
) -> Run:
    for message in (*_QUIET, _FROZEN) if task.options.freeze else _QUIET:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    observer, checkpoint_io = observer_of(task), AtomicCheckpointIO()
    drawn = sys.stdout.isatty() and cfg.trainer.get("enable_progress_bar", True)
    always: list[Callback] = [observer, stopwatch]
    if drawn:
        always.append(ProgressBar(leave=False, file=Unlogged()))
    trainer = build_trainer(
        policy,
        cfg.trainer,
        callbacks=[*always, *callbacks],
        logger=list(loggers) or False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=drawn,
        plugins=[checkpoint_io],
        default_root_dir=str(run_dir),
    )
    if resumed and resumed.path.is_file() and type(trainer.strategy).load_checkpoint is Strategy.load_checkpoint:
        checkpoint_io.hand_in(resumed.path, resumed.contents)  # FSDP reads by itself
    task.compiling.check(trainer)
    talking = next((callback for callback in callbacks if isinstance(callback, Talking)), None)
    return Run(data, task, policy.instantiate(data), trainer, observer, stopwatch, talking)
