"""Image classification.

Shapes: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.data import Mixup
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from visionattn.tasks.classification.observer import ClassificationObserver
from visionattn.training.task import Batch, StepOutput, VisionTask


class ClassificationTask(VisionTask):
    """Cross entropy with label smoothing (Szegedy et al. 2015, arXiv 1512.00567) and, in training, mixup (Zhang et al.
    2017, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899) by timm.

    Args:
        num_classes: classes K.
        label_smoothing: probability mass spread over all classes, in training only.
        mixup_alpha: parameter of mixup's Beta distribution; 0: no mixup.
        cutmix_alpha: the same for CutMix; 0: no CutMix.
        mixup_prob: probability that a batch is mixed at all.
        mixup_switch_prob: probability of CutMix where both are on.
        **kwargs: see :class:`VisionTask`.
    Logs:
        ``val/top1`` and, from six classes on, ``val/top5``, in percent; exact for any number of processes.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: Callable[..., nn.Module],
        optimizer: partial,
        schedule: Callable[..., Any] | None = None,
        *,
        num_classes: int,
        label_smoothing: float = 0.1,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        mixup_prob: float = 1.0,
        mixup_switch_prob: float = 0.5,
        **kwargs: Any,
    ):
        metrics = {"top1": Percent(num_classes, top_k=1)}
        if num_classes > 5:
            metrics["top5"] = Percent(num_classes, top_k=5)
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            nn.CrossEntropyLoss(label_smoothing=label_smoothing),
            optimizer,
            schedule,
            metrics=MetricCollection(dict(metrics)),
            **kwargs,
        )
        self.num_classes = num_classes
        self.mixup = None
        if mixup_alpha > 0 or cutmix_alpha > 0:
            self.mixup = Mixup(
                mixup_alpha=mixup_alpha,
                cutmix_alpha=cutmix_alpha,
                prob=mixup_prob,
                switch_prob=mixup_switch_prob,
                label_smoothing=0.0,
                num_classes=num_classes,
            )

    def on_fit_start(self) -> None:
        self.class_info = {"names": list(self.trainer.datamodule.class_names)}  # type: ignore[attr-defined]

    def observer(self) -> ClassificationObserver:
        """Keeps every prediction of a validation: for calibration, the confusion matrix and the mistakes."""
        return ClassificationObserver()

    def step(self, batch: Batch) -> StepOutput:
        images, target = batch["image"], batch["target"]
        if not self.training:
            logits = self(images)
            return StepOutput(nn.functional.cross_entropy(logits.float(), target), logits, target)
        mixed = target
        if self.mixup is not None:
            images, mixed = self.mixup(images, target)
        logits = self(images)
        return StepOutput(self.loss(logits.float(), mixed), logits, target)


class Percent(MulticlassAccuracy):
    """Share of samples whose class is among the ``top_k`` likeliest, in percent over all samples."""

    def __init__(self, num_classes: int, top_k: int):
        super().__init__(num_classes=num_classes, top_k=top_k, average="micro")

    def compute(self) -> Tensor:
        return 100.0 * super().compute()
