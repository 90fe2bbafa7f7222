"""Panoptic and instance segmentation by queries.

Shapes: B batch, H W image, K classes, Q queries, n segments, N masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visionattn.data.decode import DecodedImage
from visionattn.data.detection.splits import MasksOnDemand
from visionattn.data.module import VisionData
from visionattn.errors import ConfigError, NonFiniteLossError
from visionattn.heads.panoptic import Mask2Former
from visionattn.heads.panoptic.head import Predictions
from visionattn.heads.panoptic.postprocess import Frame, PanopticPrediction, instances, panoptic_map
from visionattn.tasks.detection.metric import CocoEvaluator
from visionattn.tasks.detection.observer import DetectionObserver
from visionattn.tasks.detection.predict import coco_files, predicted_objects
from visionattn.tasks.inspection import Scored, place_number
from visionattn.tasks.observer import Observer
from visionattn.tasks.panoptic.metric import CocoInstancesEvaluator, PanopticQualityEvaluator, instance_results
from visionattn.tasks.panoptic.observer import PanopticObserver
from visionattn.tasks.panoptic.predict import panoptic_file, predicted_segments
from visionattn.tasks.predict import Predicted, as_rgb, batch_of
from visionattn.training.distributed import mean_of_processes
from visionattn.training.evaluator import Evaluator, Given, first_of
from visionattn.training.step import Batch, StepOutput
from visionattn.training.task import VisionTask


class PanopticTask(VisionTask):
    """Trains a head of queries on masks and scores it as COCO does: panoptic quality, and average precision of masks.

    Args:
        num_classes: classes K, things and stuff.
        panoptic: score panoptic maps; needs data with panoptic targets (``data=coco_panoptic``).
        instance: score the things as instances, against COCO's file of instances. With ``panoptic=false`` it also
            works on ``data=coco``, where every class is a thing.
        score: least probability of its class that a query of a panoptic map must have; 0.8 as published.
        overlap: least share of its mask that such a query must keep; 0.8 as published.
        detections: instances of an image, at most; 100 as published.
        evaluators: see :class:`VisionTask`.
        **kwargs: see :class:`VisionTask`.

    Raises:
        ConfigError: nothing to score, or thresholds outside 0..1.

    Note:
        Logged values are
        ``val/PQ``, ``val/SQ``, ``val/RQ``, of things ``val/PQ_th``... and of stuff ``val/PQ_st``..., in percent; with
        ``instance`` ``val/mask_ap`` and COCO's other figures; exact for any number of processes.
        ``train/loss_class``, ``train/loss_mask``, ``train/loss_dice``, the weighted parts of the loss.
    """

    head: Mask2Former
    num_classes: int
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
        panoptic: bool = True,
        instance: bool = False,
        score: float = 0.8,
        overlap: float = 0.8,
        detections: int = 100,
        evaluators: Given | None = None,
        **kwargs: Any,
    ):
        chosen = dict(self.default_evaluators() if evaluators is None else evaluators)
        if not panoptic:
            chosen.pop("panoptic_quality", None)
        if instance and chosen.get("coco_instances") is None:
            chosen["coco_instances"] = CocoInstancesEvaluator()
        instance = chosen.get("coco_instances") is not None
        if not (panoptic or instance):
            raise ConfigError("there is nothing to score: set task.panoptic=true or task.instance=true")
        if not (0 <= score < 1 and 0 <= overlap <= 1 and detections > 0):
            raise ConfigError(
                f"score and overlap are shares and detections a number, got {score}, {overlap} and {detections}"
            )
        super().__init__(
            backbone,
            partial(head, num_classes=num_classes),
            None,  # the head computes its own losses
            optimizer,
            schedule,
            evaluators=chosen,
            **kwargs,
        )
        self.num_classes, self.panoptic, self.instance = num_classes, panoptic, instance
        self.score, self.overlap, self.detections = score, overlap, detections

    def meet(self, data: VisionData) -> None:
        super().meet(data)
        if isinstance(data, MasksOnDemand):
            data.require_masks(True)

    def default_evaluators(self) -> dict[str, Evaluator]:
        return {"panoptic_quality": PanopticQualityEvaluator()}

    def observer(self) -> Observer:
        evaluators = self.evaluators.values()
        quality, instances = first_of(evaluators, PanopticQualityEvaluator), first_of(evaluators, CocoEvaluator)
        return PanopticObserver(quality, instances) if quality is not None else DetectionObserver(instances)

    def protocol(self) -> dict[str, Any]:
        panoptic = {"score": self.score, "overlap": self.overlap} if self.panoptic else {}
        return panoptic | ({"detections": self.detections} if self.instance else {})

    @property
    def things(self) -> list[bool]:
        """Of every class whether it is a thing; all are where the data do not say."""
        things = self.class_info.things
        return [True] * self.num_classes if things is None else list(things)

    def in_order(self, output: Predictions, order: list[int]) -> Predictions:
        nothing = output.classes.shape[-1] - 1
        return output._replace(classes=output.classes[..., [*order, nothing]])

    def step(self, batch: Batch) -> StepOutput:
        if not self.training:
            return StepOutput(None, self.predict_segments(batch))
        targets = [with_masks(target) for target in batch["target"]]
        num_masks = mean_of_processes(sum(len(target["labels"]) for target in targets))
        losses = self.head.loss(self(batch["image"]), targets, num_masks)
        parts = {name.removeprefix("loss_"): loss for name, loss in losses.items()}
        return StepOutput(torch.stack(list(losses.values())).sum(), parts=parts)

    def predict_segments(self, batch: Batch) -> list[PanopticPrediction]:
        """Return panoptic maps and instances at the original sizes of the images.

        Raises:
            NonFiniteLossError: the outputs of the layers are not finite; names the images.
        """
        queries = self(batch["image"])
        finite = torch.isfinite(queries.classes).flatten(1).all(1) & torch.isfinite(queries.masks).flatten(1).all(1)
        if not bool(finite.all()):
            names = [name for name, ok in zip(batch["id"], finite.tolist(), strict=True) if not ok]
            raise NonFiniteLossError(f"the model's predictions are not finite. Images: {', '.join(names)}")
        predictions, padded = [], (int(batch["image"].shape[-2]), int(batch["image"].shape[-1]))
        for classes, masks, seen, original in zip(
            queries.classes, queries.masks, batch["size"], batch["original"], strict=True
        ):
            frame = Frame(padded, seen, original)
            segments = objects = None
            if self.panoptic:
                segments = panoptic_map(classes, masks, frame, self.things, self.score, self.overlap)
            if self.instance:
                objects = instances(classes, masks, frame, self.things, self.detections)
            predictions.append(PanopticPrediction(segments, objects))
        return predictions

    def predict_images(self, images: Sequence[DecodedImage], data: Any, options: Mapping[str, Any]) -> list[Predicted]:
        """Return panoptic maps of images of any size, drawn over them.

        A model for instances alone gives their masks and boxes; ``options["score"]`` is the least score of these.
        """
        drawn, info = [], self.class_info
        for image, one in zip(images, self.predict_segments(batch_of(images, data, self.device)), strict=True):
            if one.segments is not None:
                drawn.append(predicted_segments(as_rgb(image), one.segments, info))
            elif one.objects is not None:
                results = instance_results(one.objects, 0, info.ids or [])
                least = options.get("score", 0.5)
                kept = [line for line in results if line["score"] >= least]
                drawn.append(predicted_objects(as_rgb(image), kept, info))
        return drawn

    def inspected_image(self, image: DecodedImage, data: Any) -> Tensor:
        """Return an image as the network sees it, padded; see :class:`InspectsImages`."""
        return batch_of([image], data, self.device)["image"]

    def inspected_score(
        self, features: Sequence[Tensor], images: Tensor, target: int | str | None, point: tuple[float, float]
    ) -> Scored:
        """Return the score of a query: the logit of its class plus the mean logit of its mask.

        Args:
            features: the backbone's maps.
            images: what they were computed from.
            target: the query by its place, the most certain one first.
            point: not used.
        """
        predictions = self.head(features)
        classes, masks = predictions.classes[0].float(), predictions.masks[0].float()
        certainty, labels = classes.softmax(-1)[:, :-1].max(-1)
        inside = (masks > 0).flatten(1)
        certainty = certainty * (masks.sigmoid().flatten(1) * inside).sum(1) / inside.sum(1).clamp(min=1)
        order = certainty.argsort(descending=True)
        place = place_number(target, len(order), "query")
        query = int(order[place])
        label, mask = int(labels[query]), masks[query] > 0
        name = self.class_info.names[label] if self.class_info.names else str(label)
        covered = masks[query][mask].mean() if bool(mask.any()) else masks[query].max()
        about = f"query {query} (place {place}): {name}, score {float(certainty[query].detach()):.3f}"
        return Scored(classes[query, label] + covered, about, mask=mask)

    def prediction_files(self, folder: Path, images: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
        """Write the results in COCO's format, panoptic or of instances."""
        write = panoptic_file if self.panoptic else coco_files
        return write(folder, images, self.class_info)


def with_masks(target: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The objects of an image whose masks are known."""
    if "has_mask" not in target:
        return target
    known = target["has_mask"]
    return {name: values[known] for name, values in target.items()}
