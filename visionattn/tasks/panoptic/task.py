"""Panoptic and instance segmentation by queries.

Shapes: B batch, H W picture, K classes, Q queries, n segments, N masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from visionattn.data.detection.masks import encode
from visionattn.errors import ConfigError, NonFiniteLossError
from visionattn.heads.panoptic import Mask2Former
from visionattn.heads.panoptic.postprocess import Frame, Instances, Segments, instances, panoptic_map
from visionattn.tasks.detection.metric import CocoMetric, Result, as_results
from visionattn.tasks.detection.observer import DetectionObserver
from visionattn.tasks.observer import Observer
from visionattn.tasks.panoptic.metric import PanopticQuality
from visionattn.tasks.panoptic.observer import PanopticObserver, draw_instances, draw_panoptic
from visionattn.tasks.predict import Predicted, batch_of
from visionattn.training.nonfinite import gather, mean_of_processes
from visionattn.training.task import Batch, StepOutput, VisionTask


@dataclass
class Answer:
    """What is said about one picture, at its original size; None for what was not asked."""

    segments: Segments | None
    objects: Instances | None


class PanopticTask(VisionTask):
    """Trains a head of queries on masks and scores it as COCO does: panoptic quality, and average precision of masks.

    Args:
        num_classes: classes K, things and stuff.
        panoptic: score panoptic maps; needs data with panoptic truth (``data=coco_panoptic``).
        instance: score the things as instances, against COCO's file of instances. With ``panoptic=false`` it also
            works on ``data=coco``, where every class is a thing.
        score: least probability of its class that a query of a panoptic map must have; 0.8 as published.
        overlap: least share of its mask that such a query must keep; 0.8 as published.
        detections: instances of a picture, at most; 100 as published.
        **kwargs: see :class:`VisionTask`.
    Raises:
        ConfigError: nothing to score, or thresholds outside 0..1.
    Logs:
        ``val/PQ``, ``val/SQ``, ``val/RQ``, of things ``val/PQ_th``... and of stuff ``val/PQ_st``..., in percent; with
        ``instance`` ``val/mask_ap`` and COCO's other figures; exact for any number of processes.
        ``train/loss_class``, ``train/loss_mask``, ``train/loss_dice``, the weighted parts of the loss.
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
        panoptic: bool = True,
        instance: bool = False,
        score: float = 0.8,
        overlap: float = 0.8,
        detections: int = 100,
        **kwargs: Any,
    ):
        if not (panoptic or instance):
            raise ConfigError("there is nothing to score: set task.panoptic=true or task.instance=true")
        if not (0 <= score < 1 and 0 <= overlap <= 1 and detections > 0):
            raise ConfigError(
                f"score and overlap are shares and detections a number, got {score}, {overlap} and {detections}"
            )
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            nn.Identity(),  # the head computes its own losses
            optimizer,
            schedule,
            metrics=None,  # type: ignore[arg-type]
            **kwargs,
        )
        self.metrics = CocoMetric(masks=True)
        self.quality = PanopticQuality(num_classes) if panoptic else None
        self.num_classes, self.instance = num_classes, instance
        self.score, self.overlap, self.detections = score, overlap, detections
        self._parts: dict[str, Tensor] = {}
        self._num_masks: Tensor | None = None

    def observer(self) -> Observer:
        return PanopticObserver(self) if self.quality is not None else DetectionObserver(self)  # type: ignore[arg-type]

    def protocol(self) -> dict[str, Any]:
        panoptic = {"score": self.score, "overlap": self.overlap} if self.quality is not None else {}
        return panoptic | ({"detections": self.detections} if self.instance else {})

    def setup(self, stage: str) -> None:
        """Raises ConfigError where the data have no panoptic truth, DataError where they have no file of instances that
        suits, and one is asked for.
        """
        super().setup(stage)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.quality is not None and not hasattr(data, "things"):
            raise ConfigError(
                f"{type(data).__name__} has no panoptic truth: take data=coco_panoptic, or score instances alone with "
                "task.panoptic=false task.instance=true task.monitor=val/mask_ap"
            )
        things = list(data.things) if hasattr(data, "things") else [True] * self.num_classes
        self.class_info = {"names": list(data.class_names), "ids": list(data.category_ids), "things": things}
        if self.quality is not None:
            self.quality.things = things
        if self.instance:  # now, and not when the first epoch is over
            records = data.records("val")
            records.ground_truth(records.annotations.image_ids.tolist(), masks=False)

    @property
    def things(self) -> list[bool]:
        return [bool(thing) for thing in self.class_info["things"]]

    def step(self, batch: Batch) -> StepOutput:
        if not self.training:
            return StepOutput(torch.zeros(()), self.answers(batch), None)
        head: Mask2Former = self.head  # type: ignore[assignment]
        losses = head.loss(self(batch["image"]), batch["target"], self._num_masks)
        self._parts = {name: loss.detach() for name, loss in losses.items()}
        return StepOutput(torch.stack(list(losses.values())).sum(), None, None)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._num_masks = mean_of_processes(sum(len(target["labels"]) for target in batch["target"]))
        loss = super().training_step(batch, batch_idx)
        self.log_dict({f"train/{name}": part for name, part in self._parts.items()}, batch_size=len(batch["id"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        self._unreadable += self._news(batch, "val")
        if not batch["id"]:
            return None
        output = self.step(batch)
        if self.quality is not None:
            self.quality.update([answer.segments for answer in output.prediction], batch["target"])
        if self.instance:
            found = zip(output.prediction, batch["image_id"], strict=True)
            results = [line for answer, number in found for line in self.results(answer.objects, number)]
            self.metrics.update(results, batch["image_id"], batch["id"])
        return output

    def on_validation_epoch_end(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self._count_unreadable([record for part in gather(self._unreadable) for record in part], "val")
        figures: dict[str, Any] = {}
        if self.quality is not None:
            figures |= self.quality.compute()
            self.quality.reset()
        if self.instance:
            figures |= self.metrics.compute(data.records("val"))
            self.metrics.reset()
        for name, value in figures.items():
            self.log(f"val/{name}", value, prog_bar=name in ("PQ", "mask_ap"))

    def answers(self, batch: Batch) -> list[Answer]:
        """Panoptic maps and instances at the pictures' original sizes.

        Raises:
            NonFiniteLossError: what the layers say is not finite; names the images.
        """
        found = self(batch["image"])
        fine = torch.isfinite(found.classes).flatten(1).all(1) & torch.isfinite(found.masks).flatten(1).all(1)
        if not bool(fine.all()):
            names = [name for name, ok in zip(batch["id"], fine.tolist(), strict=True) if not ok]
            raise NonFiniteLossError(f"the model's answers are not finite. Images: {', '.join(names)}")
        answers, padded = [], (int(batch["image"].shape[-2]), int(batch["image"].shape[-1]))
        for classes, masks, seen, original in zip(
            found.classes, found.masks, batch["size"], batch["original"], strict=True
        ):
            frame = Frame(padded, seen, original)
            segments = objects = None
            if self.quality is not None:
                segments = panoptic_map(classes, masks, frame, self.things, self.score, self.overlap)
            if self.instance:
                objects = instances(classes, masks, frame, self.things, self.detections)
            answers.append(Answer(segments, objects))
        return answers

    def results(self, found: Instances, image_id: int) -> list[Result]:
        """Instances in COCO's submission format, masks as compressed run lengths, boxes around them."""
        runs = encode(found.masks.to(torch.uint8).cpu().numpy())
        return as_results(image_id, self.class_info["ids"], found.boxes, found.scores, found.labels, runs)

    def predict_images(self, images: Sequence[Image.Image], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Panoptic maps of pictures of any size, drawn over them; of a model for instances alone, their masks and
        boxes. ``options["score"]`` is the least score of instances.
        """
        drawn, names = [], self.class_info["names"]
        for image, answer in zip(images, self.answers(batch_of(images, data, self.device)), strict=True):
            if answer.segments is not None:
                drawn.append(draw_panoptic(image, answer.segments, self.class_info))
                continue
            lines = [line for line in self.results(answer.objects, 0) if line["score"] >= options.get("score", 0.5)]  # type: ignore[arg-type]
            drawn.append(draw_instances(image, lines, names, self.class_info["ids"]))
        return drawn
