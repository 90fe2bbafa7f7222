"""Semantic segmentation.

Shapes: B batch, K classes, H W image, h w logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.data.decode import DecodedImage, as_tensor
from visionattn.data.segmentation.labels import IGNORE
from visionattn.drawing.palette import palette_of
from visionattn.errors import ConfigError
from visionattn.heads.segmentation.inference import Inference, class_map
from visionattn.heads.segmentation.pixel_loss import PixelLoss
from visionattn.tasks.inspection import Scored, above_mean, class_number
from visionattn.tasks.predict import Predicted, as_rgb
from visionattn.tasks.segmentation.metric import BoundaryIoUEvaluator, SemanticEvaluator
from visionattn.tasks.segmentation.observer import SegmentationObserver
from visionattn.tasks.segmentation.predict import MAPS, predicted_classes
from visionattn.training.evaluator import Evaluator, Given, first_of
from visionattn.training.step import Batch, StepOutput
from visionattn.training.task import VisionTask


class SegmentationTask(VisionTask):
    """Cross entropy per pixel, with an auxiliary head; scored at the size of the original images.

    Args:
        num_classes: classes K.
        auxiliary_weight: weight of the auxiliary head's loss.
        class_weights: factor on the loss of each class's pixels, one per class: rare classes count for more; None: 1.
        inference: how images are evaluated.
        boundary_iou: also evaluate the boundary IoU; it costs time.
        evaluators: see :class:`VisionTask`.
        **kwargs: see :class:`VisionTask`.

    Raises:
        ConfigError: another number of ``class_weights`` than classes, or weights below 0.

    Note:
        Logged values are
        ``val/mIoU``, ``val/mAcc`` and ``val/aAcc``, in percent over the data set, exact for any number of processes.
        ``val/loss`` is taken at the size of the scores, not of the images.
    """

    num_classes: int
    evaluation_sizes_vary = True

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
        evaluators: Given | None = None,
        **kwargs: Any,
    ):
        if class_weights is not None and (len(class_weights) != num_classes or min(class_weights) < 0):
            raise ConfigError(f"class_weights are {num_classes} numbers from 0 on, got {list(class_weights)}")
        evaluators = dict(self.default_evaluators() if evaluators is None else evaluators)
        if boundary_iou and evaluators.get("boundary") is None:
            evaluators["boundary"] = BoundaryIoUEvaluator()
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            PixelLoss(class_weights, IGNORE),
            optimizer,
            schedule,
            evaluators=evaluators,
            **kwargs,
        )
        self.num_classes, self.auxiliary_weight = num_classes, auxiliary_weight
        self.inference = inference or Inference()

    def default_evaluators(self) -> dict[str, Evaluator]:
        return {"semantic": SemanticEvaluator()}

    def in_order(self, output: tuple[Tensor, Tensor | None], order: list[int]) -> tuple[Tensor, Tensor | None]:
        logits, extra = output
        return logits[:, order], None if extra is None else extra[:, order]

    def step(self, batch: Batch) -> StepOutput:
        images, target = batch["image"], batch["target"]
        if not self.training:
            return self._evaluate(list(images), list(target))
        logits, extra = self(images)
        loss = self.loss(logits, target)
        if extra is not None:
            loss = loss + self.auxiliary_weight * self.loss(extra, target)
        return StepOutput(loss, logits.detach())

    def _evaluate(self, images: list[Tensor], target: list[Tensor]) -> StepOutput:
        scores = self.scores(images)
        losses = [_score_loss(one, classes) for one, classes in zip(scores, target, strict=True)]
        maps = [class_map(one, classes.shape) for one, classes in zip(scores, target, strict=True)]
        return StepOutput(torch.stack(losses).mean(), maps)

    def scores(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the scores of normalized images ``(C, H, W)``, as :class:`Inference` evaluates them."""
        return self.inference(lambda x: self(x)[0], images)

    def observer(self) -> SegmentationObserver:
        evaluators = self.evaluators.values()
        return SegmentationObserver(first_of(evaluators, SemanticEvaluator), first_of(evaluators, BoundaryIoUEvaluator))

    def protocol(self) -> dict[str, Any]:
        """Return how images are evaluated, for result files."""
        return self.inference.describe()

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; numbers where a checkpoint knows none."""
        return self.class_info.names or [str(label) for label in range(self.num_classes)]

    @property
    def palette(self) -> np.ndarray:
        """Color of every class, uint8 ``(K, 3)``."""
        known = self.class_info.palette
        return np.array(known, np.uint8) if known else palette_of(self.class_names)

    def predict_images(self, images: Sequence[DecodedImage], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Return class maps of images of any size, drawn over them; see :class:`PredictsImages`."""
        pixels = [as_tensor(image).to(self.device) for image in images]
        normal = data.to_model_input({"image": pixels, "target": []})["image"]
        maps = [class_map(one, image.shape[-2:]) for one, image in zip(self.scores(normal), normal, strict=True)]
        return [
            predicted_classes(as_rgb(image), classes.cpu().numpy(), self.class_names, self.palette)
            for image, classes in zip(images, maps, strict=True)
        ]

    def inspected_image(self, image: DecodedImage, data: Any) -> Tensor:
        """Return an image in one piece, at the base size of :attr:`inference`; see :class:`InspectsImages`."""
        pixels = as_tensor(image).to(self.device)
        return self.inference.scaled(data.to_model_input({"image": [pixels], "target": []})["image"][0], 1.0)[None]

    def inspected_score(
        self, features: Sequence[Tensor], images: Tensor, target: int | str | None, point: tuple[float, float]
    ) -> Scored:
        """Return the mean logit of a class, above the mean of all, over the pixels of that class.

        Args:
            features: the backbone's maps.
            images: what they were computed from.
            target: the class, by number or name; None: the one at the point.
            point: (row, column) in shares of height and width.
        """
        logits = self.head(features)[0][0].float()
        (height, width), classes = logits.shape[-2:], logits.argmax(0)
        at = classes[min(int(point[0] * height), height - 1), min(int(point[1] * width), width - 1)]
        asked = class_number(target, self.class_names, len(logits))
        label = int(at) if asked is None else asked
        mask = classes == label
        if not bool(mask.any()):
            raise ConfigError(f"target={target}: the model gives no pixel of this image to {self.class_names[label]}")
        share = float(mask.float().mean())
        return Scored(
            above_mean(logits)[label][mask].mean(), f"{self.class_names[label]}, {share:.1%} of the image", mask=mask
        )

    def prediction_files(self, folder: Path, images: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
        """Return the folder of the class maps, PNG images with a palette whose values are the labels."""
        return {"class maps": folder / MAPS}


def _score_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross entropy at the size of the scores ``(K, h, w)``."""
    seen = F.interpolate(target[None, None].float(), size=scores.shape[-2:])[0].long()
    logits = scores.float()[None]
    return F.cross_entropy(logits, seen, ignore_index=IGNORE, reduction="sum") / max(seen.numel(), 1)
