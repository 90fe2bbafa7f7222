"""The base of all tasks: a backbone, a head, a loss, and everything about training and validation that tasks share.

Shapes: B batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from visionattn.data.classes import ClassInfo
from visionattn.errors import ConfigError
from visionattn.training.accumulation import global_batch, group_factor, steps_per_epoch
from visionattn.training.auxiliary import AuxiliaryLosses
from visionattn.training.buffers import BufferSnapshot
from visionattn.training.clipping import clip_adaptively
from visionattn.training.evaluator import Evaluator, Given, named_evaluators
from visionattn.training.lr_scaling import LearningRateScaling
from visionattn.training.monitor import check_mode, check_monitors, monitors_of
from visionattn.training.network import Network
from visionattn.training.nonfinite import (
    Records,
    StepDecision,
    StepMonitor,
    check_validation,
    gradient_norm,
    record_incident,
)
from visionattn.training.options import TrainingOptions
from visionattn.training.out_of_memory import out_of_memory_explained
from visionattn.training.parameter_groups import parameter_groups
from visionattn.training.resuming import same_classes
from visionattn.training.schedule import check_settings, settings_of, tell_notices
from visionattn.training.serving import prepare, without_unused
from visionattn.training.single_images import batch_norm_explained
from visionattn.training.step import Batch, StepOutput
from visionattn.training.unreadable import count_unreadable, newly_unreadable, nothing_read
from visionattn.training.validation import ValidationEpoch

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class VisionTask(Network):
    """A LightningModule of which a new task writes only :meth:`step` and names its evaluators.

    Modules of the backbone or the head may add auxiliary losses; see :class:`HasAuxiliaryLoss`.

    Args:
        backbone: a module with ``feature_info`` and ``forward_intermediates``.
        head: called as ``head(feature_info=...)``; gives a module that takes the list of feature maps.
        loss: called by :meth:`step`; None: the task computes its loss otherwise.
        optimizer: called with the parameter groups.
        schedule: called as ``schedule(optimizer, total_steps=, steps_per_epoch=)``; None: constant rate.
        evaluators: name -> what validation computes, logged as ``val/<figure>``; None: :meth:`default_evaluators`.
        monitor: the logged value that decides which checkpoint is best.
        monitor_mode: ``max`` or ``min``.
        **options: see :class:`TrainingOptions`.

    Attributes:
        class_info: what is known of the classes; set before training and validation, and read from a checkpoint.
        num_classes: number of classes of a task that has any.
        validated: the epoch (from 0) of the latest validation; None before it.
        pooled: whether the head classifies the whole image; see :class:`ServesTasks`.
        has_validation_loss: whether :meth:`step` gives a loss in evaluation.
    """

    num_classes: int | None = None
    pooled: bool = False
    has_validation_loss: bool = True
    validated: int | None = None

    def __init__(
        self,
        backbone: Any,
        head: Callable[..., nn.Module],
        loss: nn.Module | None,
        optimizer: partial[Optimizer],
        schedule: Callable[..., Scheduler] | None = None,
        *,
        evaluators: Given | None = None,
        monitor: str,
        monitor_mode: str = "max",
        **options: Any,
    ):
        prepare(backbone, self.pooled)
        super().__init__(
            backbone, head(feature_info=backbone.feature_info), TrainingOptions.of(options, type(self).__name__)
        )
        self.loss: nn.Module = loss if loss is not None else nn.Identity()
        without_unused(backbone, self.head)
        self.evaluators = named_evaluators(self.default_evaluators() if evaluators is None else evaluators)
        self.validation = ValidationEpoch(self.evaluators)
        check_mode(monitor, monitor_mode)
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self._optimizer, self._schedule = optimizer, schedule
        self.lr_scaling = LearningRateScaling(self.options.lr_base_size, self.options.lr_base_scale)
        self.config_text, self.class_info = "", ClassInfo()
        self.step_monitor, self.stop_requested = StepMonitor(self.options.nonfinite), False
        self.decision = StepDecision()
        self._buffers_before = BufferSnapshot([backbone, self.head, self.loss])
        self._auxiliary = AuxiliaryLosses([backbone, self.head])
        self._batch_size = 0
        if self.options.grad_checkpointing:
            backbone.set_grad_checkpointing(True)
        if self.options.layer_decay is not None and not hasattr(backbone, "layer_of"):
            raise ValueError(f"layer_decay needs a backbone with layer_of(name); {type(backbone).__name__} has none")

    @abstractmethod
    def step(self, batch: Batch) -> StepOutput:
        """Return loss and prediction for a batch; ``self.training`` tells training from validation."""

    def default_evaluators(self) -> dict[str, Evaluator]:
        """Return the evaluators of a task whose configuration names none."""
        return {}

    def protocol(self) -> dict[str, Any]:
        """Return how the task evaluates images, beyond what the data make of them; for result files."""
        return {}

    @property
    def data(self) -> VisionData:
        """The data module of the run."""
        return data_of(self.trainer)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.class_info = self.data.class_info
        self.meet(self.data)

    def meet(self, data: VisionData) -> None:
        """Compare the data, whose splits are read, with what the task and its evaluators need; raises DataError."""
        for evaluator in self.evaluators.values():
            evaluator.setup(data)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._batch_size = len(batch["id"])
        if not batch["id"]:
            raise nothing_read(batch["unreadable"])
        if self.step_monitor.policy == "skip" and self.step_monitor.at_start:
            self._buffers_before.take()
        self.step_monitor.add_faults(batch.get("faults", []))
        with out_of_memory_explained(self._batch_size), self.compiling.active():
            output = self._with_auxiliary_losses(batch)
        loss = output.loss
        assert loss is not None, "step gives a loss in training"
        self.step_monitor.see(loss, output.prediction, batch, self._newly_unreadable(batch, "train"))
        if self._is_logged():
            self.log("train/loss", loss.detach(), prog_bar=True, batch_size=self._batch_size)
            parts = {f"train/loss_{name}": part.detach() for name, part in output.parts.items()}
            self.log_dict(parts, batch_size=self._batch_size)
        return loss

    def _with_auxiliary_losses(self, batch: Batch) -> StepOutput:
        """The step with the auxiliary losses of its forward pass added."""
        self._auxiliary.take()  # gradient checkpointing leaves losses of its second passes
        with batch_norm_explained(self._batch_size):
            output = self.step(batch)
        auxiliary = self._auxiliary.take()
        if auxiliary is None or output.loss is None:
            return output
        return StepOutput(output.loss + auxiliary, output.prediction, output.parts | {"auxiliary": auxiliary})

    def _is_logged(self) -> bool:
        """Whether this step goes to the loggers; ``log`` costs half a millisecond in every step otherwise."""
        trainer: Any = self.trainer
        return bool(trainer._logger_connector.should_update_logs) or bool(trainer.fast_dev_run)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with out_of_memory_explained(self._batch_size), self.compiling.active():
            factor = group_factor(self.trainer)
            super().backward(loss if factor == 1 else loss * factor, *args, **kwargs)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Decide about the step with all processes, right before the weights change, and clip the gradient."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = gradient_norm(parameters)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        self.decision = self.step_monitor.decide(norm, self.stop_requested, overflow_is_normal=scaled)
        self._count_unreadable(self.decision.unreadable, "train")
        if self.decision.incident:
            record_incident(self.trainer, self.decision.incident)
        if self.decision.skip:
            for parameter in parameters:
                parameter.grad = None  # an optimizer passes over parameters without one
            self._buffers_before.restore()
        elif self.options.adaptive_clip:
            clip_adaptively(parameters, self.options.adaptive_clip)
        elif gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            if norm is not None:
                nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        elif gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_fit_start(self) -> None:
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        check_monitors([self.monitor, *monitors_of(callbacks)], self.evaluators, self.has_validation_loss)

    def on_validation_epoch_start(self) -> None:
        self.validation.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        split = self.data.evaluation_split
        self.validation.note(self._newly_unreadable(batch, split), batch.get("faults", []))
        if not batch["id"]:
            return None
        with self.compiling.active():
            output = self.step(batch)
        self.validation.add(output.loss, output.prediction, batch)
        return output

    def on_validation_epoch_end(self) -> None:
        """Agree on the data's faults with all processes, and log the loss and the figures."""
        self._count_unreadable(self.validation.agree(), self.data.evaluation_split)
        loss = self.validation.loss()
        if loss is not None:
            if self.trainer.state.fn == "fit":
                check_validation(loss, self.global_step)
            self.log("val/loss", loss, prog_bar=True)
        for name, value, shown in self.validation.figures(self.data):
            self.log(f"val/{name}", value, prog_bar=shown)
        self.validation.reset()
        if not self.trainer.sanity_checking:
            self.validated = self.trainer.current_epoch

    def configure_optimizers(self) -> Any:
        self.trainer.fit_loop.setup_data()  # a run counted in steps alone would not know its batches per epoch yet
        total = int(self.trainer.estimated_stepping_batches)
        per_epoch = steps_per_epoch(self.trainer)
        built = self.build_optimizer(total, per_epoch, global_batch(self.trainer, self.data))
        if self.trainer.is_global_zero and total > 0:
            tell_notices(settings_of(self._schedule), built["optimizer"], total, per_epoch)
        return built

    def build_optimizer(self, total_steps: int, steps_per_epoch: float, batch: int) -> dict[str, Any]:
        """Return optimizer and schedule for ``total_steps`` steps of ``batch`` images, in Lightning's form.

        Raises:
            ValueError: ``lr_base_size`` is given, but the optimizer has no ``lr`` to scale.
            ConfigError: everything is frozen.
        """
        given = self._optimizer.keywords
        decay = given.get("weight_decay", 0.0)
        scales: dict[str, Any] = {
            "layer_decay": self.options.layer_decay,
            "backbone_scale": self.options.backbone_lr_scale,
        }
        groups = parameter_groups(self.backbone, self.head, weight_decay=decay, **scales)
        if not groups:
            raise ConfigError(f"task.freeze={self.options.freeze} leaves no parameter to train: the head has none")
        optimizer = self._optimizer(groups, **self.lr_scaling.arguments(given.get("lr"), batch))
        if hasattr(optimizer, "_step_supports_amp_scaling"):
            # A fused optimizer would divide by the scale of fp16 itself, behind everybody who looks at the gradient.
            optimizer._step_supports_amp_scaling = False
        if self._schedule is None:
            return {"optimizer": optimizer}
        check_settings(settings_of(self._schedule), None if self.options.lr_base_size else given.get("lr"))
        scheduler = self._schedule(optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def describe_lr(self, batch: int) -> str:
        """Return the peak learning rate at ``batch`` images per step, and how it came about."""
        return self.lr_scaling.describe(self._optimizer.keywords.get("lr"), batch)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step_update(num_updates=self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"], checkpoint["class_facts"] = self.config_text, self.class_info.as_dict()
        checkpoint["images_per_step"] = global_batch(self.trainer, self.data)
        checkpoint["unreadable"] = {split: dict(self.data.budget(split).records) for split in ("train", "val")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        same_classes(checkpoint.get("class_facts", {}), self.class_info)
        checkpoint["lr_schedulers"] = []  # the rate follows from the step; their state holds the length of before
        for split, records in checkpoint.get("unreadable", {}).items():
            self.data.budget(split).records.update(records)

    def _newly_unreadable(self, batch: Batch, split: str) -> Records:
        return newly_unreadable(batch, self.data.budget(split)) if batch.get("unreadable") else []

    def _count_unreadable(self, records: Records, split: str) -> None:
        if records:
            count_unreadable(records, self.data.budget(split))


def data_of(trainer: Any) -> VisionData:
    """The data module of a trainer; Lightning sets it without declaring it."""
    return trainer.datamodule
