"""COCO's twelve figures by faster-coco-eval, equal to pycocotools' to the last bit."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from visionattn.data.detection.masks import box_runs
from visionattn.data.detection.values import rising

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
IOU_THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))
Result = dict[str, Any]
"""One detection in COCO's submission format: image_id, category_id, bbox [x, y, width, height], score, segmentation."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's garbage collector, which doubles the time of the evaluation.

    It walks over all results again and again while the evaluation makes its lists, and finds no garbage.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def coco_figures(targets: dict[str, Any], results: Sequence[Result], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Pycocotools' twelve figures, and the average precision of each category; see :func:`coco_curves`."""
    figures, classes, _ = coco_curves(targets, results, kind)
    return figures, classes


@collector_paused()
def coco_curves(
    targets: dict[str, Any], results: Sequence[Result], kind: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pycocotools' twelve figures, the average precision of each category in the order of their ids, and the curve.

    Masks are scored by themselves: their areas decide what is small, as in detectron2, not those of their boxes.

    Args:
        targets: contents of an annotation file, of the images to score and no others.
        results: detections.
        kind: ``bbox`` or ``segm``.

    Returns:
        float64 (12,) and (K,) between 0 and 1; -1 where there is no object. float64 (10, 101): precision at each of
        :data:`IOU_THRESHOLDS` and each recall 0, 0.01, ..., 1, the mean over the categories with objects; NaN where
        there is none.
    """
    kept = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
    targets, results = numbered(targets, [{name: result[name] for name in kept} for result in results], kind)
    expected = COCO(targets)
    detected = expected.loadRes(results)
    evaluation = COCOeval_faster(expected, detected, kind, print_function=discard)
    evaluation.params.imgIds = sorted(image["id"] for image in targets["images"])
    usual = evaluation.params.recThrs
    second = _second_hits(targets, evaluation.params)
    extra, which = np.unique(second, return_inverse=True)
    evaluation.params.recThrs = np.concatenate([usual, extra])
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = (np.ascontiguousarray(evaluation.eval[name]) for name in ("precision", "recall"))
    precision = _as_pycocotools(precision, len(usual), which.reshape(second.shape))
    classes = np.array([mean_of_known(of_class) for of_class in precision[:, :, :, 0, -1].transpose(2, 0, 1)])
    return _twelve(precision, recall), classes, _curve(precision[:, :, :, 0, -1])


def _curve(precision: np.ndarray) -> np.ndarray:
    """Mean over the categories with objects (thresholds, recalls) of precision (thresholds, recalls, K)."""
    known = precision[:, :, (precision > -1).all((0, 1))]
    return np.asarray(known.mean(-1)) if known.shape[-1] else np.full(precision.shape[:2], np.nan)


def numbered(targets: dict[str, Any], results: Sequence[Result], kind: str) -> tuple[dict[str, Any], list[Result]]:
    """Copies in which images, categories and annotations are numbered from 1, in rising order of their ids.

    The evaluation takes an annotation of id 0 for one that was not found, and knows no ids that are text. An object
    without a mask is a crowd that fills its box where masks are scored: it is neither found nor missed.
    """
    images = {one: i for i, one in enumerate(sorted((image["id"] for image in targets["images"]), key=rising), 1)}
    kinds = {one: i for i, one in enumerate(sorted((c["id"] for c in targets["categories"]), key=rising), 1)}
    sizes = {image["id"]: (image["height"], image["width"]) for image in targets["images"]}
    annotations = []
    for i, annotation in enumerate(targets["annotations"], 1):
        places = {"image_id": images[annotation["image_id"]], "category_id": kinds[annotation["category_id"]]}
        entry = annotation | {"id": i} | places
        if kind == "segm" and not annotation.get("segmentation"):
            size = sizes[annotation["image_id"]]
            entry |= {"iscrowd": 1, "segmentation": box_runs(annotation["bbox"], *size)}
        annotations.append(entry)
    found = [r | {"image_id": images[r["image_id"]], "category_id": kinds[r["category_id"]]} for r in results]
    renumbered = {
        "images": [image | {"id": images[image["id"]]} for image in targets["images"]],
        "annotations": annotations,
        "categories": [category | {"id": kinds[category["id"]]} for category in targets["categories"]],
    }
    return renumbered, found


def _second_hits(targets: dict[str, Any], params: Any) -> np.ndarray:
    """A recall for each class and range of areas (K, A) that only a second right detection reaches.

    It is a power of two, so that there are few different ones, and 2 where there is no second object.
    """
    objects = [a for a in targets["annotations"] if not a.get("iscrowd")]
    label_of = {number: label for label, number in enumerate(sorted(c["id"] for c in targets["categories"]))}
    labels = np.array([label_of[a["category_id"]] for a in objects], np.int64)
    areas = np.array([a["area"] for a in objects], np.float64)
    counts = np.zeros((len(label_of), len(params.areaRng)))
    for i, (low, high) in enumerate(params.areaRng):
        inside = labels[(areas >= low) & (areas <= high)]
        counts[:, i] = np.bincount(inside, minlength=len(label_of))
    return np.where(counts > 1, 2.0 ** np.floor(np.log2(2.0 / np.maximum(counts, 1))), 2.0)


def _as_pycocotools(precision: np.ndarray, usual: int, which: np.ndarray) -> np.ndarray:
    """Precision with pycocotools' rounding.

    pycocotools divides by the number of detections plus 2.2e-16. That matters where one right detection stands alone at
    the top of the list: its precision is 1 minus 2.2e-16. A second right one in a row makes it 1.

    Args:
        precision: with the recalls of :func:`_second_hits` behind the ``usual`` ones.
        usual: number of the usual recalls.
        which: index of the extra recall for each class and range of areas, int (K, A).
    """
    classes, areas = np.indices(which.shape)
    reached = precision[:, usual + which, classes, areas] == 1.0  # (thresholds, K, A, most)
    precision = np.ascontiguousarray(precision[:, :usual])
    precision[(precision == 1.0) & ~reached[:, None]] = 1.0 / (1.0 + np.spacing(1.0))
    return precision


def _twelve(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Pycocotools' summary, in its order of summation, so that not even the last bit differs.

    Args:
        precision: (thresholds from 0.5 to 0.95, recalls, classes, areas all to large, at most 1, 10, 100 detections).
        recall: the same without the recalls.
    """
    figures = [precision[:, :, :, 0, 2], precision[0:1, :, :, 0, 2], precision[5:6, :, :, 0, 2]]
    figures += [precision[:, :, :, area, 2] for area in (1, 2, 3)]
    figures += [recall[:, :, 0, most] for most in (0, 1, 2)]
    figures += [recall[:, :, area, 2] for area in (1, 2, 3)]
    return np.array([mean_of_known(values) for values in figures])


def mean_of_known(values: np.ndarray) -> float:
    """Mean over what exists; -1 where there is no object."""
    known = values[values > -1]
    return float(np.mean(known)) if len(known) else -1.0


def discard(*_: Any) -> None:
    """Discard the messages of faster-coco-eval."""
