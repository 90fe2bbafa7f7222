"""Semantic segmentation.

Shapes: B batch, K classes, H W picture, h w logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection

from visionattn.data.segmentation.classes import default_palette
from visionattn.data.segmentation.labels import IGNORE
from visionattn.errors import ConfigError
from visionattn.heads.segmentation.inference import Inference, class_map
from visionattn.heads.segmentation.pixel_loss import resized_cross_entropy
from visionattn.tasks.predict import Predicted
from visionattn.tasks.segmentation.metric import BoundaryIoU, DatasetIoU
from visionattn.tasks.segmentation.observer import SegmentationObserver, draw_prediction
from visionattn.training.nonfinite import raise_faults
from visionattn.training.task import Batch, StepOutput, VisionTask


class PixelLoss(nn.Module):
    """Cross entropy of all pixels, the logits brought to the size of the target.

    The mean is over all pixels, ignored ones included, as in mmsegmentation's recipes: every picture weighs the same
    however much of it is labelled, and a batch without labels gives 0, not NaN.

    Args:
        class_weights: factor on the pixels of each class, (K,); None: 1.
    Shape:
        logits ``(B, K, h, w)``, target int64 ``(B, H, W)`` -> scalar
    """

    weight: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None):
        super().__init__()
        weight = None if class_weights is None else torch.tensor([float(one) for one in class_weights])
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return resized_cross_entropy(logits, target, self.weight, ignore=IGNORE) / max(target.numel(), 1)


class SegmentationTask(VisionTask):
    """Cross entropy per pixel, with an auxiliary head; scored at the size of the original pictures.

    Args:
        num_classes: classes K.
        auxiliary_weight: weight of the auxiliary head's loss.
        class_weights: factor on the loss of each class's pixels, one per class: rare classes count for more; None: 1.
        inference: how pictures are evaluated.
        boundary_iou: also the boundary IoU; it costs time.
        **kwargs: see :class:`VisionTask`.
    Raises:
        ConfigError: another number of ``class_weights`` than classes, or weights below 0.
    Logs:
        ``val/mIoU``, ``val/mAcc`` and ``val/aAcc``, in percent over the data set, exact for any number of processes.
        ``val/loss`` is taken at the size of the scores, not of the pictures.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: Callable[..., nn.Module],
        optimizer: partial,
        schedule: Callable[..., Any] | None = None,
        *,
        num_classes: int,
        auxiliary_weight: float = 0.4,
        class_weights: Sequence[float] | None = None,
        inference: Inference | None = None,
        boundary_iou: bool = False,
        **kwargs: Any,
    ):
        if class_weights is not None and (len(class_weights) != num_classes or min(class_weights) < 0):
            raise ConfigError(f"class_weights are {num_classes} numbers from 0 on, got {list(class_weights)}")
        scores: dict[str, Any] = {"dataset": DatasetIoU(num_classes)}
        if boundary_iou:
            scores["boundary"] = BoundaryIoU(num_classes)
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            PixelLoss(class_weights),
            optimizer,
            schedule,
            metrics=MetricCollection(scores, compute_groups=False),
            **kwargs,
        )
        self.num_classes, self.auxiliary_weight = num_classes, auxiliary_weight
        self.inference = inference or Inference()
        self._faults: list[str] = []

    def step(self, batch: Batch) -> StepOutput:
        images, target = batch["image"], batch["target"]
        if not self.training:
            return self._evaluate(list(images), list(target))
        for fault in batch.get("faults", []):
            self.guard.fault(fault)
        logits, extra = self(images)
        loss = self.loss(logits, target)
        if extra is not None:
            loss = loss + self.auxiliary_weight * self.loss(extra, target)
        return StepOutput(loss, logits.detach(), target)

    def _evaluate(self, images: list[Tensor], target: list[Tensor]) -> StepOutput:
        scores = self.scores(images)
        losses = [_score_loss(one, true) for one, true in zip(scores, target, strict=True)]
        maps = [class_map(one, true.shape) for one, true in zip(scores, target, strict=True)]
        return StepOutput(torch.stack(losses).mean(), maps, target)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._faults = []

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        self._faults += batch.get("faults", [])  # also of a batch that has no picture left
        return super().validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Raises DataError, on every process, where one of them met labels that cannot be right."""
        raise_faults(self._faults)
        super().on_validation_epoch_end()

    def scores(self, images: Sequence[Tensor]) -> list[Tensor]:
        """What :class:`Inference` makes of normalised pictures ``(C, H, W)``."""
        return self.inference(lambda x: self(x)[0], images)

    def on_fit_start(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.class_info = {"names": data.class_names, "palette": data.palette.tolist()}

    def observer(self) -> SegmentationObserver:
        return SegmentationObserver(self)

    def protocol(self) -> dict[str, Any]:
        """How pictures are evaluated, for result files."""
        return self.inference.describe()

    @property
    def class_names(self) -> list[str]:
        return list(self.class_info.get("names") or map(str, range(self.num_classes)))

    @property
    def palette(self) -> np.ndarray:
        """uint8 ``(K, 3)``."""
        known = self.class_info.get("palette")
        return np.array(known, np.uint8) if known else default_palette(self.num_classes)

    def predict_images(self, images: Sequence[Image.Image], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Class maps of pictures of any size, drawn over them; see :class:`PredictsImages`."""
        pixels = [torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).to(self.device) for image in images]
        normal = data.to_model_input({"image": pixels, "target": []})["image"]
        maps = [class_map(one, image.shape[-2:]) for one, image in zip(self.scores(normal), normal, strict=True)]
        return [
            draw_prediction(image, classes.cpu().numpy(), self.class_names, self.palette)
            for image, classes in zip(images, maps, strict=True)
        ]


def _score_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross entropy at the size of the scores ``(K, h, w)``."""
    seen = F.interpolate(target[None, None].float(), size=scores.shape[-2:])[0].long()
    logits = scores.float()[None]
    return F.cross_entropy(logits, seen, ignore_index=IGNORE, reduction="sum") / max(seen.numel(), 1)
