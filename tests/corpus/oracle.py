"""Tasks whose predictions are the scenes that were drawn: whatever a file says, a healthy validation scores 100.

An object is predicted only where the image that the model gets has its color at its center, so that turned or swapped
images are noticed too.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.corpus.trees import HEIGHT, WIDTH, scene
from visionattn.heads.panoptic.postprocess import PanopticPrediction, Segments
from visionattn.tasks import ClassificationTask, DetectionTask, PanopticTask, SegmentationTask
from visionattn.training import StepOutput

NAMES = {3: "cat", 7: "dog"}


def label_of(category: int, names: list[str]) -> int:
    """The label of a category of the scene; by its order where the classes have lost their names."""
    return names.index(NAMES[category]) if NAMES[category] in names else list(NAMES).index(category)


def index_of(name: str) -> int:
    """The scene of a file: the last number of three digits in its name."""
    return int(re.findall(r"\d{3}", name)[-1])


def seen(image: Tensor, size: tuple[int, int], index: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """The objects of a scene whose color is at their center in an image ``(3, H, W)`` that fills ``size`` of it."""
    height, width = size
    objects = []
    for category, (left, top, wide, high) in scene(index):
        x, y = int((left + wide / 2) / WIDTH * width), int((top + high / 2) / HEIGHT * height)
        red, _, blue = image[:3, y, x].tolist()
        if (red > blue + 0.5) if category == 3 else (blue > red + 0.5):
            objects.append((category, (left, top, wide, high)))
    return objects


class _Oracle:
    """No gradient but a zero, so that a training step runs."""

    def zero(self) -> Tensor:
        return sum((p.sum() * 0 for p in self.parameters()), torch.zeros(()))  # type: ignore[attr-defined]


class Classification(_Oracle, ClassificationTask):
    """Red images are ants, blue ones bees."""

    def step(self, batch: Any) -> StepOutput:
        red = batch["image"][:, 0].mean((1, 2)) > batch["image"][:, 2].mean((1, 2))
        names = list(self.trainer.datamodule.class_names)
        labels = torch.where(red, names.index("ant"), names.index("bee"))
        logits = 20.0 * torch.nn.functional.one_hot(labels, self.num_classes)
        return StepOutput(self.zero() if self.training else torch.zeros(()), logits)


class Detection(_Oracle, DetectionTask):
    """Boxes, and masks where ``masks`` is set."""

    masks = False

    def step(self, batch: Any) -> StepOutput:
        if self.training:
            return StepOutput(self.zero())
        names = list(self.trainer.datamodule.class_names)
        predictions = []
        for name, image, size in zip(batch["id"], batch["image"], batch["size"], strict=True):
            objects = seen(image, size, index_of(name))
            boxes = torch.tensor([[x, y, x + w, y + h] for _, (x, y, w, h) in objects]).float().reshape(-1, 4)
            labels = torch.tensor([label_of(category, names) for category, _ in objects], dtype=torch.int64)
            one = {"boxes": boxes, "labels": labels, "scores": torch.ones(len(objects))}
            predictions.append(one | ({"masks": torch.ones(len(objects), 1, 28, 28)} if self.masks else {}))
        return StepOutput(None, predictions)


class Instances(Detection):
    """Boxes and masks: all objects are rectangles."""

    masks = True


class Segmentation(_Oracle, SegmentationTask):
    """Class maps at the size of the mask; the first class is the background where there are three."""

    def step(self, batch: Any) -> StepOutput:
        if self.training:
            return StepOutput(self.zero())
        first = int(self.num_classes == 3)
        maps = []
        for name, image, target in zip(batch["id"], batch["image"], batch["target"], strict=True):
            height, width = target.shape
            classes = np.zeros((height, width), np.int64)
            for category, (x, y, w, h) in seen(image, tuple(image.shape[-2:]), index_of(name)):
                classes[y : y + h, x : x + w] = first + (category == 7)
            maps.append(torch.from_numpy(classes))
        return StepOutput(torch.zeros(()), maps)


class Panoptic(_Oracle, PanopticTask):
    """The two objects, and grass everywhere else."""

    def step(self, batch: Any) -> StepOutput:
        if self.training:
            return StepOutput(self.zero())
        names = list(self.trainer.datamodule.class_names)
        predictions = []
        for name, image, size in zip(batch["id"], batch["image"], batch["size"], strict=True):
            ids, labels = torch.ones(HEIGHT, WIDTH, dtype=torch.int64), [names.index("grass")]
            for category, (x, y, w, h) in seen(image, size, index_of(name)):
                labels.append(names.index(NAMES[category]))
                ids[y : y + h, x : x + w] = len(labels)
            scores = torch.ones(len(labels))
            predictions.append(PanopticPrediction(Segments(ids, torch.tensor(labels), scores), None))
        return StepOutput(None, predictions)
