"""What shifts and corruptions of the images do to the predictions of a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionattn.config import BuildPolicy
from visionattn.data.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from visionattn.data.seeding import stable_seed
from visionattn.errors import DataError
from visionattn.runs.build import Run
from visionattn.runs.measures.predicting import Predictor
from visionattn.runs.measures.sizes import resized

SLACK = 8
"""The image is made an eighth larger for shifts, so that crops of the evaluation's size can lie elsewhere."""


def shifts(run: Run, policy: BuildPolicy, seed: int) -> dict[str, Any]:
    """Consistency: how often two shifted crops of an image get the same class.

    Zhang 2019, *Making Convolutional Networks Shift-Invariant Again*, arXiv 1904.11486. The evaluation's transform
    makes an image that is larger by an eighth; two crops of the evaluation's size are cut out at places that the seed
    and the image's name decide.

    Returns:
        ``consistency`` and ``accuracy`` of the crops in percent, ``largest_shift`` in pixels, ``images``.
    """
    height, width = run.data.image_size
    slack = max(1, height // SLACK), max(1, width // SLACK)
    predictor, agreeing, right, images = Predictor(run), 0, 0, 0
    with resized(run, policy, (height + slack[0], width + slack[1])), predictor.ready():
        for batch in predictor.batches():
            first, second = (
                predictor.classes(_crops(batch, (height, width), slack, seed, place)) for place in ("first", "second")
            )
            agreeing += int((first == second).sum())
            right += int((first == batch["target"]).sum()) + int((second == batch["target"]).sum())
            images += len(first)
    _check_any(images)
    return {
        "consistency": 100 * agreeing / images,
        "accuracy": 100 * right / (2 * images),
        "largest_shift": list(slack),
        "images": images,
    }


def _crops(batch: dict[str, Any], size: tuple[int, int], slack: tuple[int, int], seed: int, place: str) -> Tensor:
    """Crops ``(B, C, H, W)``, each at a place of its own."""
    crops = []
    for image, name in zip(batch["image"], batch["id"], strict=True):
        drawn = stable_seed("shift", seed, name, place, bits=32)
        top, left = drawn % (slack[0] + 1), drawn // (slack[0] + 1) % (slack[1] + 1)
        crops.append(image[:, top : top + size[0], left : left + size[1]])
    return torch.stack(crops)


def corruptions(run: Run, seed: int) -> dict[str, Any]:
    """Accuracy on corrupted images, see :mod:`visionattn.data.corruptions`.

    Returns:
        ``clean`` and ``mean`` accuracy in percent, ``kinds``: for each corruption the accuracy at severities 1 to 5,
        ``images``, and ``note``: what these images are not.
    """
    predictor, images, clean = Predictor(run), 0, 0
    right = {kind: [0] * len(SEVERITIES) for kind in CORRUPTIONS}
    with predictor.ready():
        for batch in predictor.batches():
            target = batch["target"]
            clean += int((predictor.classes(batch["image"]) == target).sum())
            images += len(target)
            for kind, counts in right.items():
                for place, severity in enumerate(SEVERITIES):
                    changed = _corrupted(batch, kind, severity, seed)
                    counts[place] += int((predictor.classes(changed) == target).sum())
    _check_any(images)
    kinds = {kind: [100 * count / images for count in counts] for kind, counts in right.items()}
    return {
        "clean": 100 * clean / images,
        "mean": sum(map(sum, kinds.values())) / (len(kinds) * len(SEVERITIES)),
        "kinds": kinds,
        "images": images,
        "note": "drawn here in the manner of ImageNet-C; not its files, and not comparable with published scores",
    }


def _corrupted(batch: dict[str, Any], kind: str, severity: int, seed: int) -> Tensor:
    """Corrupted images, uint8 ``(B, 3, H, W)``."""
    changed = [
        corrupted(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), kind, severity, seed, name)
        for image, name in zip(batch["image"], batch["id"], strict=True)
    ]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)


def _check_any(images: int) -> None:
    if not images:
        raise DataError("there is no image to measure: none could be read, or the set is empty")
