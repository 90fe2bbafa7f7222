"""Object detection and instance segmentation.

Shapes: B batch, H W image, N objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from visionattn.data.detection.masks import encode
from visionattn.drawing.detection import draw_objects
from visionattn.errors import NonFiniteLossError
from visionattn.heads.detection.detector import Detections, Detector
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks.detection.metric import CocoMetric, Result, as_results
from visionattn.tasks.detection.observer import DetectionObserver
from visionattn.tasks.predict import Predicted, batch_of
from visionattn.training.nonfinite import gather
from visionattn.training.task import Batch, StepOutput, VisionTask


class DetectionTask(VisionTask):
    """Trains a detector on the maps of any backbone and scores it as COCO does.

    Args:
        num_classes: classes K, without the background.
        freeze_batch_norm: batch norms of the backbone keep their statistics, as the papers' ResNets do.
        **kwargs: see :class:`VisionTask`.
    Logs:
        ``val/box_ap`` and the other eleven box figures of COCO, with masks ``val/mask_ap`` and its eleven, in percent,
        exact for any number of processes; ``train/loss_...``, the parts of the loss.
    """

    metrics: CocoMetric  # type: ignore[assignment]

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
            nn.Identity(),  # the detector computes its own losses
            optimizer,
            schedule,
            metrics=None,  # type: ignore[arg-type]
            **kwargs,
        )
        detector: Detector = self.head  # type: ignore[assignment]
        self.detector_has_masks, self.num_classes = detector.has_masks, num_classes
        self.metrics = CocoMetric(detector.has_masks)
        self.freeze_batch_norm = freeze_batch_norm
        self._parts: dict[str, Tensor] = {}

    def observer(self) -> DetectionObserver:
        """Keeps the scores of a validation: for the pictures, the table of classes and the submission file."""
        return DetectionObserver(self)

    def train(self, mode: bool = True) -> DetectionTask:
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.class_info = {"names": list(data.class_names), "ids": list(data.category_ids)}

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None, targets: Any = None) -> Any:
        """Detections for padded, normalised images ``(B, 3, H, W)``; losses in training; nothing on torch's meta
        device, where only the layers run, to be counted.

        Args:
            images: the batch.
            sizes: (height, width) of each image in it; None: they fill it.
            targets: see :data:`visionattn.heads.detection.Targets`.
        """
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        height, width = images.shape[-2:]
        features = self._features(images, norm=True, intermediates_only=True)
        if images.is_meta:
            return self.head.cost(features)  # type: ignore[operator]
        listed = ImageList(images, list(sizes) if sizes is not None else [(height, width)] * len(images))
        return self.head(features, listed, targets)

    def step(self, batch: Batch) -> StepOutput:
        if not self.training:
            return StepOutput(torch.zeros(()), self.detect(batch), None)
        losses = self(batch["image"], batch["size"], batch["target"])
        self._parts = {name: loss.detach() for name, loss in losses.items()}
        return StepOutput(torch.stack(list(losses.values())).sum(), None, None)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log_dict({f"train/{name}": part for name, part in self._parts.items()}, batch_size=len(batch["id"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        self._unreadable += self._news(batch, "val")
        if batch["id"]:
            results = self.results(self.detect(batch), batch["image_id"], batch["original"])
            self.metrics.update(results, batch["image_id"], batch["id"])

    def on_validation_epoch_end(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self._count_unreadable([record for part in gather(self._unreadable) for record in part], "val")
        figures = self.metrics.compute(data.records("val"))
        for name, value in figures.items():
            self.log(f"val/{name}", value, prog_bar=name in ("box_ap", "mask_ap"))
        self.metrics.reset()

    def detect(self, batch: Batch) -> Detections:
        """Detections in pixels of the original pictures.

        Raises:
            NonFiniteLossError: what the layers say is not finite; names the images.
        """
        try:
            found = self(batch["image"], batch["size"])
        except NonFiniteLossError as error:
            broken = [n for n, x in zip(batch["id"], batch["image"], strict=True) if not torch.isfinite(x).all()]
            raise NonFiniteLossError(f"{error}. Images: {', '.join(broken or batch['id'])}") from error
        for one, (height, width), (full_height, full_width) in zip(
            found, batch["size"], batch["original"], strict=True
        ):
            across, down = full_width / width, full_height / height
            one["boxes"] = one["boxes"] * one["boxes"].new_tensor([across, down, across, down])
        return found

    def results(self, found: Detections, image_ids: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[Result]:
        """Detections in COCO's submission format, masks as compressed run lengths."""
        numbers, lines = self.class_info["ids"], list[Result]()
        for one, image_id, size in zip(found, image_ids, sizes, strict=True):
            boxes = one["boxes"].float().cpu()
            runs = encode(paste_masks(one["masks"], boxes, size).numpy()) if "masks" in one else None
            lines += as_results(image_id, numbers, boxes, one["scores"], one["labels"], runs)
        return lines

    def predict_images(self, images: Sequence[Image.Image], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Boxes, masks and scores on pictures of any size; ``options["score"]`` is the least score that is shown."""
        least, names = float(options.get("score", 0.5)), self.class_info["names"]
        answers = []
        for image, one in zip(images, self.detect(batch_of(images, data, self.device)), strict=True):
            one = {name: values[one["scores"] >= least] for name, values in one.items()}
            lines = self.results([one], [0], [(image.height, image.width)])
            masks: np.ndarray | None = None
            if "masks" in one:
                masks = paste_masks(one["masks"], one["boxes"], (image.height, image.width)).numpy()
            boxes, labels = one["boxes"].float().cpu().numpy(), one["labels"].tolist()
            scores = one["scores"].tolist()
            drawn = draw_objects(
                image, boxes, labels, names, scores=scores, masks=None if masks is None else list(masks)
            )
            objects = [
                {"class": names[label]} | {k: v for k, v in line.items() if k != "image_id"}
                for label, line in zip(labels, lines, strict=True)
            ]
            answers.append(Predicted(drawn, {"objects": objects}))
        return answers
