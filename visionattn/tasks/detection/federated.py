"""LVIS's figures by faster-coco-eval: average precision where not every class is annotated on every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from visionattn.tasks.detection.average_precision import Result, collector_paused, discard, mean_of_known

PER_IMAGE = 300
"""Detections of an image that count, those of the highest scores over all classes."""
FREQUENCIES = ("r", "c", "f")
"""Rare (on 1 to 10 training images), common (on up to 100) and frequent classes."""
LVIS_NAMES = (*(f"ap{letter}" for letter in FREQUENCIES), f"ar{PER_IMAGE}")
"""Figures that COCO does not have."""


def is_federated(targets: Mapping[str, Any]) -> bool:
    """Whether annotations state for every image which classes were looked for, as LVIS's do."""
    return bool(targets["images"]) and all("neg_category_ids" in image for image in targets["images"])


@collector_paused()
def lvis_figures(
    targets: Mapping[str, Any], results: Sequence[Result], kind: str
) -> tuple[dict[str, float], np.ndarray]:
    """LVIS's thirteen figures (Gupta et al. 2019, arXiv 1908.03195), and the average precision of each class.

    The rules are those of the official lvis-api. At most 300 detections of an image count, over all classes. A
    detection of a class that is neither annotated on its image nor listed in ``neg_category_ids`` is left out, since
    nobody looked for that class. One that matches no object is not wrong where the class is listed in
    ``not_exhaustive_category_ids``. There are no crowds. Masks are scored by their own areas, not those of their boxes.

    Args:
        targets: contents of an annotation file, of the images to score and no others.
        results: detections.
        kind: ``bbox`` or ``segm``.

    Returns:
        Name -> value between 0 and 1, -1 where there is no object; and float64 (K,) in the order of the class ids.
    """
    kept = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
    images, categories = ([dict(entry) for entry in targets[name]] for name in ("images", "categories"))
    annotations = [dict(entry) | {"iscrowd": 0} for entry in targets["annotations"]]
    expected = COCO({"images": images, "annotations": annotations, "categories": categories})
    detected = expected.loadRes([{name: result[name] for name in kept} for result in best_per_image(results)])
    evaluation = COCOeval_faster(expected, detected, kind, print_function=discard, lvis_style=True)
    evaluation.params.imgIds = sorted(image["id"] for image in images)
    evaluation.params.maxDets = [PER_IMAGE]
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[name])[..., 0] for name in ("precision", "recall"))
    frequency = {category["id"]: category["frequency"] for category in categories}
    return _named(precision, recall, [frequency[number] for number in sorted(frequency)]), np.array(
        [mean_of_known(of_class) for of_class in precision[..., 0].transpose(2, 0, 1)]
    )


def best_per_image(results: Sequence[Result], most: int = PER_IMAGE) -> list[Result]:
    """The detections of the highest scores of each image; of equal scores the first."""
    of_image: dict[Any, list[Result]] = {}
    for result in results:
        of_image.setdefault(result["image_id"], []).append(result)
    return [result for found in of_image.values() for result in sorted(found, key=lambda one: -one["score"])[:most]]


def _named(precision: np.ndarray, recall: np.ndarray, frequencies: Sequence[str]) -> dict[str, float]:
    """The figures by name.

    Args:
        precision: (thresholds from 0.5 to 0.95, recalls, classes, areas all to large).
        recall: the same without the recalls.
        frequencies: r, c or f of each class.
    """
    figures = {"ap": precision[..., 0], "ap50": precision[:1, ..., 0], "ap75": precision[5:6, ..., 0]}
    sizes = ("small", "medium", "large")
    figures |= {f"ap_{size}": precision[..., i + 1] for i, size in enumerate(sizes)}
    of = np.array(frequencies)
    figures |= {f"ap{letter}": precision[:, :, of == letter, 0] for letter in FREQUENCIES}
    figures |= {f"ar{PER_IMAGE}": recall[..., 0]}
    figures |= {f"ar_{size}": recall[..., i + 1] for i, size in enumerate(sizes)}
    return {name: mean_of_known(values) for name, values in figures.items()}
