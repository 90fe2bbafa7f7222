"""Image classification.

Shapes: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from torch import Tensor, nn

from visionattn.data.decode import DecodedImage
from visionattn.data.options import check_shares
from visionattn.errors import ConfigError, NonFiniteLossError
from visionattn.tasks.classification.metric import ClassificationEvaluator
from visionattn.tasks.classification.observer import ClassificationObserver
from visionattn.tasks.classification.predict import top_classes
from visionattn.tasks.inspection import Scored, above_mean, class_number
from visionattn.tasks.predict import Predicted, as_rgb
from visionattn.training.evaluator import Evaluator
from visionattn.training.step import Batch, StepOutput
from visionattn.training.task import VisionTask


class ClassificationTask(VisionTask):
    """Image classification by cross entropy with label smoothing (Szegedy et al. 2015, arXiv 1512.00567).

    In training images are mixed by timm's mixup (Zhang et al. 2017, arXiv 1710.09412) and CutMix (Yun et al. 2019,
    arXiv 1905.04899).

    Args:
        num_classes: classes K.
        label_smoothing: probability mass spread over all classes, in training only.
        mixup_alpha: parameter of mixup's Beta distribution; 0: no mixup.
        cutmix_alpha: the same for CutMix; 0: no CutMix.
        mixup_prob: probability that a batch is mixed at all.
        mixup_switch_prob: probability of CutMix where both are on.
        **kwargs: see :class:`VisionTask`.

    Note:
        Logged values are
        ``val/top1`` and, from six classes on, ``val/top5``, in percent; exact for any number of processes.
    """

    num_classes: int
    pooled = True

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
        check_shares(
            "task", label_smoothing=label_smoothing, mixup_prob=mixup_prob, mixup_switch_prob=mixup_switch_prob
        )
        if min(mixup_alpha, cutmix_alpha) < 0:
            raise ConfigError(f"mixup_alpha and cutmix_alpha are numbers from 0 on, not {mixup_alpha}, {cutmix_alpha}")
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            nn.CrossEntropyLoss(label_smoothing=label_smoothing),
            optimizer,
            schedule,
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

    def default_evaluators(self) -> dict[str, Evaluator]:
        return {"classification": ClassificationEvaluator()}

    def observer(self) -> ClassificationObserver:
        """Return an observer that keeps every prediction: for calibration, confusion matrix and mistakes."""
        return ClassificationObserver()

    def predict_images(self, images: Sequence[DecodedImage], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Return the ``options["top_k"]`` likeliest classes of images of any size; see :class:`PredictsImages`."""
        pixels = torch.stack([data.eval_transform(image) for image in images]).to(self.device)
        logits = self(data.to_model_input({"image": pixels})["image"]).float()
        if not bool(torch.isfinite(logits).all()):
            raise NonFiniteLossError("the model's predictions are not finite: its weights are broken")
        names = self.class_info.names or [str(label) for label in range(logits.shape[1])]
        count = int(options.get("top_k", 5))
        return [
            top_classes(as_rgb(image), one.cpu(), names, count)
            for image, one in zip(images, logits.softmax(-1), strict=True)
        ]

    def prediction_files(self, folder: Path, images: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
        """Write nothing further: the table of all images is the usual form."""
        return {}

    def inspected_image(self, image: DecodedImage, data: Any) -> Tensor:
        """Return an image as the network sees it; see :class:`InspectsImages`."""
        pixels = data.eval_transform(image)[None].to(self.device)
        return data.to_model_input({"image": pixels})["image"]

    def inspected_score(
        self, features: Sequence[Tensor], images: Tensor, target: int | str | None, point: tuple[float, float]
    ) -> Scored:
        """Return the logit of a class, by number or name, above the mean of all; of the likeliest one for None."""
        logits = self.head(features)[0].float()
        names = self.class_info.names or [str(label) for label in range(len(logits))]
        asked = class_number(target, names, len(logits))
        label = int(logits.argmax()) if asked is None else asked
        probability = float(logits.detach().softmax(0)[label])
        return Scored(above_mean(logits)[label], f"class {names[label]}, probability {probability:.3f}")

    def in_order(self, output: Tensor, order: list[int]) -> Tensor:
        return output[:, order]

    def step(self, batch: Batch) -> StepOutput:
        images, target = batch["image"], batch["target"]
        if not self.training:
            logits = self(images)
            return StepOutput(nn.functional.cross_entropy(logits.float(), target), logits)
        mixed = target
        if self.mixup is not None:
            images, mixed = self._mix(images, target)
        logits = self(images)
        return StepOutput(self.loss(logits.float(), mixed), logits)

    def _mix(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the images of a batch in pairs; the last one of an odd number stays as it is."""
        assert self.mixup is not None
        assert self.num_classes is not None
        even = len(images) // 2 * 2
        if even == len(images):
            return self.mixup(images, target)
        rest = nn.functional.one_hot(target[even:], self.num_classes).to(images.dtype)
        if not even:
            return images, rest
        mixed, mixed_target = self.mixup(images[:even], target[:even])
        return torch.cat([mixed, images[even:]]), torch.cat([mixed_target, rest.to(mixed_target.dtype)])
