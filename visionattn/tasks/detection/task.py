"""Object detection and instance segmentation.

Shapes: B batch, H W image, N objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from visionattn.data.decode import DecodedImage
from visionattn.data.detection.splits import MasksOnDemand
from visionattn.data.module import VisionData
from visionattn.errors import NonFiniteLossError
from visionattn.heads.detection.detector import Detections, Detector, Paste
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks.detection.metric import CocoEvaluator
from visionattn.tasks.detection.observer import DetectionObserver
from visionattn.tasks.detection.predict import coco_files, predicted_detections
from visionattn.tasks.inspection import Scored, place_number
from visionattn.tasks.predict import Predicted, as_rgb, batch_of
from visionattn.training.evaluator import Evaluator, first_of
from visionattn.training.step import Batch, StepOutput
from visionattn.training.task import VisionTask


class DetectionTask(VisionTask):
    """Trains a detector on the maps of any backbone and scores it as COCO does.

    Args:
        num_classes: classes K, without the background.
        freeze_batch_norm: batch norms of the backbone keep their statistics, as the papers' ResNets do.
        **kwargs: see :class:`VisionTask`.

    Note:
        Logged values are
        ``val/box_ap`` and the other eleven box figures of COCO, with masks ``val/mask_ap`` and its eleven, in percent,
        exact for any number of processes; ``train/loss_...``, the parts of the loss.
    """

    head: Detector
    sizes_vary = True
    has_validation_loss = False

    def __init__(
        self,
        backbone: nn.Module,
        head: Callable[..., nn.Module],
        optimizer: partial,
        schedule: Callable[..., Any] | None = None,
        *,
        num_classes: int,
        freeze_batch_norm: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            None,  # the detector computes its own losses
            optimizer,
            schedule,
            **kwargs,
        )
        self.num_classes = num_classes
        self.freeze_batch_norm = freeze_batch_norm
        if coco := first_of(self.evaluators.values(), CocoEvaluator):
            coco.expect(bool(getattr(self.head, "has_masks", True)), self.paste)

    def meet(self, data: VisionData) -> None:
        super().meet(data)
        if isinstance(data, MasksOnDemand):
            data.require_masks(bool(getattr(self.head, "has_masks", True)))

    @property
    def paste(self) -> Paste:
        """What makes masks of whole images from the head's."""
        return getattr(self.head, "paste", paste_masks)

    def compile_parts(self, dynamic: bool) -> None:
        super().compile_parts(dynamic)
        self.compiling.parts("layers of the detector on whole maps", self.head.layers_on_maps(), dynamic)

    def default_evaluators(self) -> dict[str, Evaluator]:
        return {"coco": CocoEvaluator()}

    def observer(self) -> DetectionObserver:
        """Return an observer of COCO's scores: for drawings, the table of classes and the submission file."""
        return DetectionObserver(first_of(self.evaluators.values(), CocoEvaluator))

    def train(self, mode: bool = True) -> DetectionTask:
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None, targets: Any = None) -> Any:
        """Return detections for padded, normalized images ``(B, 3, H, W)``; losses in training.

        On torch's meta device only the layers run, so that their cost can be counted.

        Args:
            images: the batch.
            sizes: (height, width) of each image in it; None: they fill it.
            targets: see :data:`visionattn.heads.detection.Targets`.
        """
        height, width = images.shape[-2:]
        features = self.features(images)
        if images.is_meta:
            return self.head.cost(features)
        listed = ImageList(images, list(sizes) if sizes is not None else [(height, width)] * len(images))
        return self.head(features, listed, targets)

    def in_order(self, output: Detections, order: list[int]) -> Detections:
        for one in output:
            one["labels"] = torch.argsort(torch.tensor(order)).to(one["labels"].device)[one["labels"]]
        return output

    def step(self, batch: Batch) -> StepOutput:
        if not self.training:
            return StepOutput(None, self.detect(batch))
        losses = self(batch["image"], batch["size"], batch["target"])
        parts = {name.removeprefix("loss_"): loss for name, loss in losses.items()}
        return StepOutput(torch.stack(list(losses.values())).sum(), parts=parts)

    def detect(self, batch: Batch) -> Detections:
        """Return detections in pixels of the original images.

        Raises:
            NonFiniteLossError: the outputs of the layers are not finite; names the images.
        """
        try:
            detections = self(batch["image"], batch["size"])
        except NonFiniteLossError as error:
            broken = [n for n, x in zip(batch["id"], batch["image"], strict=True) if not torch.isfinite(x).all()]
            raise NonFiniteLossError(f"{error}. Images: {', '.join(broken or batch['id'])}") from error
        for one, (height, width), (full_height, full_width) in zip(
            detections, batch["size"], batch["original"], strict=True
        ):
            across, down = full_width / width, full_height / height
            one["boxes"] = one["boxes"] * one["boxes"].new_tensor([across, down, across, down])
        return detections

    def predict_images(self, images: Sequence[DecodedImage], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Return boxes, masks and scores on images of any size; ``options["score"]`` is the least score shown."""
        least = float(options.get("score", 0.5))
        predictions = []
        for image, one in zip(images, self.detect(batch_of(images, data, self.device)), strict=True):
            shown = {name: values[one["scores"] >= least] for name, values in one.items()}
            predictions.append(predicted_detections(as_rgb(image), shown, self.class_info, self.paste))
        return predictions

    def inspected_image(self, image: DecodedImage, data: Any) -> Tensor:
        """Return an image as the network sees it, padded; see :class:`InspectsImages`."""
        return batch_of([image], data, self.device)["image"]

    def inspected_score(
        self, features: Sequence[Tensor], images: Tensor, target: int | str | None, point: tuple[float, float]
    ) -> Scored:
        """Return the score of a detection by its place, the most certain one first."""
        listed = ImageList(images, [(int(images.shape[-2]), int(images.shape[-1]))])
        found = self.head.detect(features, listed)[0]
        place = place_number(target, len(found["scores"]), "object")
        score, label = found["scores"][place], int(found["labels"][place])
        name = self.class_info.names[label] if self.class_info.names else str(label)
        left, top, right, bottom = found["boxes"][place].tolist()
        return Scored(score, f"object {place}: {name}, score {float(score.detach()):.3f}", (left, top, right, bottom))

    def prediction_files(self, folder: Path, images: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
        """Write COCO's results, and the same as an annotation file."""
        return coco_files(folder, images, self.class_info)
