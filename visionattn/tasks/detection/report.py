"""A detection in a report: worst and best images, precision and recall, classes, confusion.

Shapes: N objects, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from visionattn.data.classes import ClassInfo
from visionattn.data.detection.masks import draw
from visionattn.data.detection.moved_masks import MANY_PIXELS
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.palette import class_color
from visionattn.reports import (
    Column,
    Curves,
    Layer,
    Matrix,
    Panels,
    Sample,
    Samples,
    Section,
    Table,
    shrink_map,
    thumbnail,
)
from visionattn.reports.images import THUMBNAIL
from visionattn.tasks.detection.average_precision import IOU_THRESHOLDS, Result
from visionattn.tasks.detection.confusion import BACKGROUND, Pair, count_pairs, f1_of, matched
from visionattn.tasks.detection.metric import CocoScores, annotated
from visionattn.tasks.ranked import BEST, WORST
from visionattn.tasks.statistics import class_counts, in_words

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

LEAST = 0.5
"""Score of the detections that are drawn and counted in the confusion matrix."""
_RANKED_BY = (
    f"Ranked by the F1 score of the detections with a score of {LEAST:g} or more that have the class of an object and "
    "an IoU of 0.5 or more with it; of equal ones, those with more objects come first. Targets are dashed."
)


def detection_sections(scores: CocoScores, data: VisionData) -> list[Section]:
    """Images from worst to best, precision and recall, the classes, and what is taken for what."""
    info = data.class_info
    pairs = matched(annotated(data).ground_truth(scores.image_ids, False), scores.results, LEAST)
    names = [*info.names, BACKGROUND]
    note = f"Boxes with an IoU of 0.5 or more and a score of {LEAST:g} or more."
    return [
        *_samples(scores, pairs, data),
        *precision_recall(scores.curves),
        class_table(scores.per_class, data),
        Matrix("Confusion matrix", count_pairs(pairs, info.ids or []), names, names, note=note),
    ]


def precision_recall(curves: Mapping[str, np.ndarray]) -> list[Section]:
    """Precision over recall, the mean over the classes, for boxes and for masks; nothing where there are no curves."""
    panels: list[Section] = []
    for kind, precision in curves.items():
        recall = np.linspace(0, 1, precision.shape[1])
        shown = {
            f"IoU {level:g}": (recall, precision[int(np.argmin(np.abs(np.array(IOU_THRESHOLDS) - level)))])
            for level in (0.5, 0.75, 0.9)
        }
        shown["mean of IoU 0.5 to 0.95"] = (recall, precision.mean(0))
        unit = (0.0, 1.0)
        panels.append(Curves(kind.capitalize(), shown, "recall", "precision", x_range=unit, y_range=unit))
    return [Panels("Precision and recall", panels)] if panels else []


def class_table(per_class: Mapping[str, np.ndarray], data: VisionData) -> Table:
    """Average precision of every class, with the number of its objects."""
    counts = {split: class_counts(data, split) for split in data.sizes}
    known = {split: of for split, of in counts.items() if of is not None}
    rows = []
    for label, name in enumerate(data.class_info.names):
        precision = [100 * float(of[label]) if of[label] >= 0 else None for of in per_class.values()]
        rows.append([name, *precision, *(int(of[label]) for of in known.values())])
    told = "average precision over IoU 0.5 to 0.95, in percent"
    columns = [Column("class"), *(Column(f"{kind} AP", bar=True, top=100, help=told) for kind in per_class)]
    return Table("Classes", [*columns, *(Column(f"{in_words(split)} objects") for split in known)], rows)


def _samples(scores: CocoScores, pairs: Mapping[int, Sequence[Pair]], data: VisionData) -> list[Section]:
    """The worst and the best images, read again: nothing but numbers is kept of the others."""
    ranked = [(f1_of(pairs.get(number, ())), _objects(pairs.get(number, ())), number) for number in scores.image_ids]
    known = [entry for entry in ranked if not math.isnan(entry[0])]
    worst = sorted(known, key=lambda entry: (entry[0], -entry[1], entry[2]))[:WORST]
    others = (entry for entry in known if entry[0] > 0 and entry not in worst)
    best = sorted(others, key=lambda entry: (-entry[0], -entry[1], entry[2]))
    records: Any = data.records(data.evaluation_split)
    index_of = {int(number): index for index, number in enumerate(records.annotations.image_ids)}
    chosen = {"Worst samples": worst, "Best samples": best[:BEST]}
    results = _of_images(scores.results, {number for entries in chosen.values() for *_, number in entries})
    sections: list[Section] = []
    for title, entries in chosen.items():
        drawn = [_sample(records, index_of[n], results.get(n, []), data.class_info, f1) for f1, _, n in entries]
        if samples := [sample for sample in drawn if sample is not None]:
            sections.append(Samples(title, samples, "" if sections else _RANKED_BY))
    return sections


def _objects(pairs: Sequence[Pair]) -> int:
    return sum(target is not None for target, _ in pairs)


def _of_images(results: Iterable[Result], wanted: set[int]) -> dict[int, list[Result]]:
    """The detections of some images that are sure enough, the surest first."""
    found: dict[int, list[Result]] = {}
    for result in results:
        if result["image_id"] in wanted and result["score"] >= LEAST:
            found.setdefault(result["image_id"], []).append(result)
    return {number: sorted(of, key=lambda result: -result["score"]) for number, of in found.items()}


def _sample(records: Any, index: int, results: Sequence[Result], info: ClassInfo, f1: float) -> Sample | None:
    """An image with its objects and its detections; None: it cannot be read."""
    try:
        image = Image.fromarray(records.image(index).permute(1, 2, 0).numpy()[..., :3])
        objects = records.objects(index, records.masks and records.mask_pixels(index) < MANY_PIXELS)
    except UnreadableImage:
        return None
    targets = objects_layer(
        "target",
        image.size,
        objects["boxes"].numpy(),
        objects["labels"].tolist(),
        info.names,
        objects["masks"].numpy() if "masks" in objects else None,
    )
    name = str(records.ids[index]).rpartition("/")[2]
    details = [f"F1 {100 * f1:.0f} %", f"{len(objects['labels'])} objects, {len(results)} detections"]
    return Sample(thumbnail(image), name, details, [targets, results_layer("prediction", image.size, results, info)])


def results_layer(name: str, size: tuple[int, int], results: Sequence[Result], info: ClassInfo) -> Layer:
    """Detections in COCO's format as a layer over an image of a size (width, height)."""
    label_of = {number: label for label, number in enumerate(info.ids or [])}
    boxes = np.array([result["bbox"] for result in results], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = (draw([result["segmentation"]], size[1], size[0])[0] for result in results if "segmentation" in result)
    labels = [label_of[result["category_id"]] for result in results]
    scores = [result["score"] for result in results]
    return objects_layer(name, size, boxes, labels, info.names, masks, scores)


def objects_layer(
    name: str,
    size: tuple[int, int],
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    masks: Iterable[np.ndarray] | None = None,
    scores: Sequence[float] | None = None,
) -> Layer:
    """Objects as a layer.

    Args:
        name: of the layer.
        size: width and height of the image.
        boxes: ``(N, 4)`` as x1 y1 x2 y2.
        labels: classes of the N objects.
        names: of the K classes.
        masks: up to N masks ``(H, W)``; of an iterator one is taken at a time.
        scores: of the N objects, 0 to 1.
    """
    shown = [names[label] for label in labels]
    if scores is not None:
        shown = [f"{text} {100 * score:.0f}%" for text, score in zip(shown, scores, strict=True)]
    regions = None
    for index, mask in enumerate(masks if masks is not None else ()):
        small = shrink_map(mask, THUMBNAIL) > 0
        regions = np.zeros(small.shape, np.int32) if regions is None else regions
        regions[small & (regions == 0)] = index + 1  # the surest detection is on top
    colors = np.array([class_color(label) for label in labels], np.uint8).reshape(-1, 3)
    return Layer(name, colors, shown, boxes, size, regions)
