"""What is reported of a detection: predictions beside targets, average precision per class, the submission file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from visionattn.data.classes import ClassInfo
from visionattn.data.detection.masks import draw
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.detection import draw_objects, plot_class_ap, plot_comparison
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks.detection.average_precision import Result
from visionattn.tasks.detection.metric import CocoEvaluator, CocoScores, detection_results
from visionattn.tasks.observer import SHOWN, Observer
from visionattn.tasks.predict import Predicted

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

_LEAST, _EDGE = 0.5, 256


class DetectionObserver(Observer):
    """An observer of the scores that an evaluator keeps of the latest validation.

    Args:
        evaluator: without one there is nothing to draw or to write.
    """

    def __init__(self, evaluator: CocoEvaluator | None) -> None:
        super().__init__()
        self._evaluator = evaluator

    @property
    def _scores(self) -> CocoScores:
        return self._evaluator.latest if self._evaluator is not None else CocoScores()

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Draw a sheet of predictions beside targets, and a bar chart of the classes."""
        scores, info = self._scores, data.class_info
        if not scores.ids:
            return {}
        files = {"predictions and targets": folder / "predictions.png", "classes": folder / "classes.png"}
        plot_comparison(self._rows(data.records("val"), info), files["predictions and targets"])
        shares = {kind: 100 * np.maximum(values, 0) for kind, values in scores.per_class.items()}
        plot_class_ap(info.names, {kind: list(values) for kind, values in shares.items()}, files["classes"])
        return files

    def _rows(self, records: Any, info: ClassInfo) -> list[tuple[str, Image.Image, Image.Image]]:
        """Every k-th image of the set, so that the sheet is the same kind of sample each time."""
        scores = self._scores
        index_of = {int(number): index for index, number in enumerate(records.annotations.image_ids)}
        rows = []
        for number in scores.image_ids[:: max(len(scores.image_ids) // SHOWN, 1)][:SHOWN]:
            index = index_of[number]
            try:
                image = Image.fromarray(records.image(index).permute(1, 2, 0).numpy())
                objects = records.objects(index)
            except UnreadableImage:
                continue
            target = draw_objects(
                image,
                objects["boxes"].numpy(),
                objects["labels"].tolist(),
                info.names,
                masks=list(objects["masks"].numpy()) if "masks" in objects else None,
                least_edge=_EDGE,
            )
            results = [r for r in scores.results if r["image_id"] == number and r["score"] >= _LEAST]
            rows.append((records.ids[index], target, draw_results(image, results, info, least_edge=_EDGE)))
        return rows

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write COCO's submission file and the table of classes."""
        if self._evaluator is None:
            return {}
        scores, info = self._scores, data.class_info
        submission, table = folder / "detections.json", folder / "classes.json"
        write_submission(submission, scores.results, data.records("val"))
        rows = [
            {"id": number, "name": name}
            | {
                f"{kind}_ap": round(100 * float(values[i]), 4)
                for kind, values in scores.per_class.items()
                if values[i] >= 0
            }
            for i, (number, name) in enumerate(zip(info.ids or [], info.names, strict=True))
        ]
        table.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return {"submission": submission, "classes": table}


def write_submission(file: Path, results: Sequence[Result], records: Any) -> None:
    """Write detections in COCO's submission format, with the ids that the annotation file has."""
    notes = records.annotations
    stated = dict(zip(notes.image_ids.tolist(), notes.file_ids, strict=True))
    own = [result | {"image_id": stated[result["image_id"]]} for result in results]
    file.write_text(json.dumps(own) + "\n", encoding="utf-8")


def draw_results(image: Image.Image, results: list[Result], info: ClassInfo, least_edge: int = 0) -> Image.Image:
    """Draw detections in COCO's format on an image."""
    label_of = {number: label for label, number in enumerate(info.ids or [])}
    boxes = np.array([r["bbox"] for r in results], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = list(draw([r["segmentation"] for r in results if "segmentation" in r], image.height, image.width))
    labels, scores = [label_of[r["category_id"]] for r in results], [r["score"] for r in results]
    return draw_objects(image, boxes, labels, info.names, scores=scores, masks=masks, least_edge=least_edge)


def draw_detections(image: Image.Image, detections: Mapping[str, Tensor], info: ClassInfo) -> Predicted:
    """The prediction for one image: its objects drawn on it, and listed."""
    size = (image.height, image.width)
    results = detection_results([detections], [0], [size], info.ids or [])
    masks = list(paste_masks(detections["masks"], detections["boxes"], size).numpy()) if "masks" in detections else None
    boxes, labels = detections["boxes"].float().cpu().numpy(), detections["labels"].tolist()
    drawn = draw_objects(image, boxes, labels, info.names, scores=detections["scores"].tolist(), masks=masks)
    objects = [
        {"class": info.names[label]} | {name: value for name, value in result.items() if name != "image_id"}
        for label, result in zip(labels, results, strict=True)
    ]
    return Predicted(drawn, {"objects": objects})
