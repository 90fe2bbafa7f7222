"""The base of all tasks: a backbone, a head, a loss, and everything about training that tasks share.

Shapes: B batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, MetricCollection

from visionattn.errors import UnreadableImagesError
from visionattn.training import memory
from visionattn.training.buffers import KeptBuffers
from visionattn.training.fsdp import FullySharded
from visionattn.training.lr_scaling import LearningRateScaling
from visionattn.training.nonfinite import (
    Records,
    StepGuard,
    any_process,
    check_validation,
    gather,
    gradient_norm,
    record_incident,
)
from visionattn.training.parameter_groups import parameter_groups

Batch = dict[str, Any]


@dataclass
class StepOutput:
    """What a step gives: the loss to minimise, and what the metrics compare."""

    loss: Tensor
    prediction: Any
    target: Any


class VisionTask(LightningModule):
    """A LightningModule of which a new task writes only :meth:`step` and its ``metrics``.

    Args:
        backbone: a module with ``feature_info`` and ``forward_intermediates``.
        head: called as ``head(feature_info=...)``; gives a module that takes the list of feature maps.
        loss: called by :meth:`step`.
        optimizer: called with the parameter groups.
        schedule: called as ``schedule(optimizer, total_steps=, steps_per_epoch=)``; None: constant rate.
        metrics: what validation computes; names become ``val/<name>``.
        monitor: the logged value that decides what is best.
        monitor_mode: ``max`` or ``min``.
        layer_decay: factor on the learning rate per layer downwards; None: the same rate for all.
        backbone_lr_scale: factor on the learning rate of the whole backbone.
        lr_base_size: images per optimizer step that the optimizer's rate is meant for; the rate of the run follows its
            real batch. None: the rate as it is given.
        lr_base_scale: how it follows, ``linear`` or ``sqrt``; see :class:`LearningRateScaling`.
        channels_last: convolutions' memory format for images and weights.
        compile: compile the backbone with ``torch.compile``.
        grad_checkpointing: recompute activations in the backward pass.
        nonfinite: what to do about a loss or gradient that is not finite: ``stop``, or ``skip`` the step on all
            processes; both leave the weights as they are, and a skipped step the running statistics and the averaged
            weights too.
    """

    def __init__(
        self,
        backbone: Any,
        head: Callable[..., nn.Module],
        loss: nn.Module,
        optimizer: partial[Optimizer],
        schedule: Callable[..., Scheduler] | None = None,
        *,
        metrics: MetricCollection,
        monitor: str,
        monitor_mode: str = "max",
        layer_decay: float | None = None,
        backbone_lr_scale: float = 1.0,
        lr_base_size: int | None = None,
        lr_base_scale: str = "linear",
        channels_last: bool = False,
        compile: bool = False,
        grad_checkpointing: bool = False,
        nonfinite: str = "stop",
    ):
        super().__init__()
        self.backbone: Any = backbone
        self.loss = loss
        self.head = head(feature_info=backbone.feature_info)
        if isinstance(getattr(backbone, "head", None), nn.Module):
            backbone.head = nn.Identity()  # what it keeps without classes (DaViT's norm) would never get a gradient
        self.metrics, self.val_loss = metrics, MeanMetric()
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self._optimizer, self._schedule, self.layer_decay = optimizer, schedule, layer_decay
        self.backbone_lr_scale = backbone_lr_scale
        self.lr_scaling = LearningRateScaling(lr_base_size, lr_base_scale)
        self.channels_last, self._compile = channels_last, compile
        self._features: Callable[..., Any] = backbone.forward_intermediates
        self.config_text, self.class_info = "", dict[str, Any]()
        self.guard, self.stop_asked, self.stop_agreed = StepGuard(nonfinite), False, False
        self.step_skipped, self._kept = False, KeptBuffers([backbone, self.head, loss])
        self._batch: Batch = {}
        self._unreadable: Records = []
        self._validated = False
        if grad_checkpointing:
            backbone.set_grad_checkpointing(True)
        if layer_decay is not None and not hasattr(backbone, "layer_of"):
            raise ValueError(f"layer_decay needs a backbone with layer_of(name); {type(backbone).__name__} has none")

    @abstractmethod
    def step(self, batch: Batch) -> StepOutput:
        """Loss and prediction for a batch; ``self.training`` tells training from validation."""

    def protocol(self) -> dict[str, Any]:
        """How the task evaluates pictures, beyond what the data make of them; for result files."""
        return {}

    def forward(self, images: Tensor) -> Any:
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.head(self._features(images, norm=True, intermediates_only=True))

    def setup(self, stage: str) -> None:
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if self._compile:
            self._features = torch.compile(self.backbone.forward_intermediates)

    def configure_model(self) -> None:
        strategy = self.trainer.strategy
        if isinstance(strategy, FullySharded):
            strategy.shard(self.backbone, self.head)
            features = self.backbone.forward_intermediates
            self._features = torch.compile(features) if self._compile else features

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._batch = batch
        if not batch["id"]:
            raise UnreadableImagesError(_nothing_read(batch["unreadable"]))
        if self.guard.policy == "skip" and self.guard.at_start:
            self._kept.keep()
        with memory.explained(self._try_batch, len(batch["id"])):
            output = self.step(batch)
        self.guard.see(output.loss, output.prediction, batch, self._news(batch, "train"))
        if self._is_logged():
            self.log("train/loss", output.loss.detach(), prog_bar=True, batch_size=len(batch["id"]))
        return output.loss

    def _is_logged(self) -> bool:
        """Whether this step goes to the loggers; ``log`` costs half a millisecond, whether it does or not."""
        connector: Any = self.trainer._logger_connector
        return bool(connector.should_update_logs) or bool(self.trainer.fast_dev_run)  # type: ignore[attr-defined]

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with memory.explained(self._try_batch, len(self._batch["id"]), release=loss.detach_):
            super().backward(loss, *args, **kwargs)
        self._batch = {}

    def _try_batch(self, size: int) -> None:
        loss = self.step(memory.head_of(self._batch, size)).loss
        memory.gradients(loss, list(self.parameters()))

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """The last moment before the weights change: the processes decide together, then the gradient is clipped."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = gradient_norm(parameters)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        verdict = self.guard.decide(norm, self.stop_asked, overflow_is_normal=scaled)
        self.stop_agreed, self.step_skipped = verdict.stop, verdict.skip
        self._count_unreadable(verdict.unreadable, "train")
        if verdict.incident:
            record_incident(self.trainer, verdict.incident)
        if verdict.skip:
            for parameter in parameters:
                parameter.grad = None  # an optimizer passes over parameters without one
            self._kept.put_back()
        elif gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            if norm is not None:
                nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        elif gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        self._unreadable += self._news(batch, "val")
        if not batch["id"]:
            return None
        output, self._validated = self.step(batch), True
        self.val_loss.update(output.loss, weight=len(batch["id"]))
        self.metrics.update(output.prediction, output.target)
        return output

    def on_validation_epoch_start(self) -> None:
        self._unreadable, self._validated = [], False

    def on_validation_epoch_end(self) -> None:
        self._count_unreadable([record for part in gather(self._unreadable) for record in part], "val")
        loss = self.val_loss.compute()
        if self.trainer.state.fn == "fit" and any_process(self._validated):
            check_validation(loss, self.global_step)
        self.log("val/loss", loss, prog_bar=True)
        for name, value in self.metrics.compute().items():
            self.log(f"val/{name}", value, prog_bar=True)
        self.val_loss.reset()
        self.metrics.reset()

    def configure_optimizers(self) -> Any:
        self.trainer.fit_loop.setup_data()  # a run counted in steps alone would not know its batches per epoch yet
        total = int(self.trainer.estimated_stepping_batches)
        per_epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        return self.build_optimizer(total, per_epoch, global_batch(self.trainer, self.trainer.datamodule))  # type: ignore[attr-defined]

    def build_optimizer(self, total_steps: int, steps_per_epoch: float, batch: int) -> dict[str, Any]:
        """Optimizer and schedule for a run of ``total_steps`` steps of ``batch`` images, in Lightning's form.

        Raises:
            ValueError: ``lr_base_size`` is given, but the optimizer has no ``lr`` to scale.
        """
        given = self._optimizer.keywords
        decay = given.get("weight_decay", 0.0)
        scales: dict[str, Any] = {"layer_decay": self.layer_decay, "backbone_scale": self.backbone_lr_scale}
        groups = parameter_groups(self.backbone, self.head, weight_decay=decay, **scales)
        optimizer = self._optimizer(groups, **self._scaled_lr(batch))
        if self._schedule is None:
            return {"optimizer": optimizer}
        scheduler = self._schedule(optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _scaled_lr(self, batch: int) -> dict[str, float]:
        if self.lr_scaling.base_size is None:
            return {}
        lr = self._optimizer.keywords.get("lr")
        if lr is None:
            raise ValueError("lr_base_size scales the optimizer's lr, but none is given")
        return {"lr": self.lr_scaling(lr, batch)}

    def describe_lr(self, batch: int) -> str:
        """The peak learning rate at ``batch`` images per step, and how it came about."""
        lr = self._optimizer.keywords.get("lr")
        return "the optimizer's own" if lr is None else self.lr_scaling.describe(lr, batch)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step_update(num_updates=self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"], checkpoint["class_facts"] = self.config_text, self.class_info
        checkpoint["images_per_step"] = global_batch(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        checkpoint["unreadable"] = {split: dict(data.budget(split).records) for split in ("train", "val")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        for split, records in checkpoint.get("unreadable", {}).items():
            data.budget(split).records.update(records)

    def _news(self, batch: Batch, split: str) -> Records:
        """The unreadable images of a batch that were not known yet."""
        if not batch.get("unreadable"):
            return []
        known = self.trainer.datamodule.budget(split).records  # type: ignore[attr-defined]
        return [(name, reason) for name, reason in batch["unreadable"] if name not in known]

    def _count_unreadable(self, records: Records, split: str) -> None:
        """Counts what any process met, the same on all of them.

        Raises:
            UnreadableImagesError: there are now too many.
        """
        if not records:
            return
        budget = self.trainer.datamodule.budget(split)  # type: ignore[attr-defined]
        with budget.deferred():
            budget.add(records)
        if budget.exceeded:
            raise UnreadableImagesError(budget.summary())


def _nothing_read(records: Records) -> str:
    shown = "\n".join(f"  {name}: {reason}" for name, reason in records[:3])
    return f"none of the images of a training batch can be read, nor any that was tried instead; among them\n{shown}"


def global_batch(trainer: Any, data: Any) -> int:
    """Images per optimizer step: of one process, times processes, times accumulated batches."""
    return data.batch_size * trainer.num_devices * trainer.num_nodes * trainer.accumulate_grad_batches
