"""What is reported of a detection: predictions beside targets, average precision per class, the submission file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from visionattn.data.classes import ClassInfo
from visionattn.data.detection.moved_masks import MANY_PIXELS
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.bars import plot_class_bars
from visionattn.drawing.canvas import sheet_of
from visionattn.drawing.detection import draw_objects
from visionattn.drawing.plots import plot_confusion, plot_precision_recall
from visionattn.errors import counted
from visionattn.files import write_whole
from visionattn.reports import Section
from visionattn.tasks.detection.average_precision import IOU_THRESHOLDS, Result
from visionattn.tasks.detection.confusion import BACKGROUND, confusion_matrix
from visionattn.tasks.detection.metric import CocoEvaluator, CocoScores, annotated
from visionattn.tasks.detection.predict import draw_results
from visionattn.tasks.detection.report import LEAST, detection_sections
from visionattn.tasks.observer import SHOWN, Observer
from visionattn.tasks.pictures import EDGE, Tile, as_image, caption_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class DetectionObserver(Observer):
    """An observer of the scores that an evaluator keeps of the latest validation.

    Args:
        evaluator: without one there is nothing to draw or to write.
    """

    noun = "objects"

    def __init__(self, evaluator: CocoEvaluator | None) -> None:
        super().__init__()
        self._evaluator = evaluator

    @property
    def _scores(self) -> CocoScores:
        return self._evaluator.latest if self._evaluator is not None else CocoScores()

    def tiles(self, batch: Any, data: VisionData, count: int) -> list[Tile]:
        """Return the first images with their objects."""
        names, tiles = data.class_info.names, []
        for index, target in enumerate(batch["target"][:count]):
            height, width = batch["size"][index]
            image = as_image(batch["image"][index][:, :height, :width], data.mean, data.std)
            masks = list(target["masks"].cpu().numpy()[:, :height, :width]) if "masks" in target else None
            boxes = target["boxes"].float().cpu().numpy() if "boxes" in target else boxes_of(masks)
            labels = target["labels"].tolist()
            drawn = draw_objects(image, boxes, labels, names, masks=masks, least_edge=EDGE)
            tiles.append((drawn, caption_of(batch, index)))
        return tiles

    def sections(self, data: VisionData) -> list[Section]:
        """Samples, precision and recall, classes, confusion matrix."""
        return detection_sections(self._scores, data) if self._scores.ids else []

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Draw predictions beside targets, average precision of the classes, precision and recall, and confusion."""
        scores, info = self._scores, data.class_info
        if not scores.ids:
            return {}
        files = {"predictions and targets": folder / "predictions.png", "classes": folder / "classes.png"}
        sheet_of(self._tiles(data.records(data.evaluation_split), info), columns=6, edge=EDGE).save(
            files["predictions and targets"]
        )
        shares = {
            kind: np.where(values < 0, np.nan, 100 * values).tolist() for kind, values in scores.per_class.items()
        }
        plot_class_bars(info.names, shares, files["classes"], label="average precision (%)")
        if scores.curves:
            files["precision and recall"] = folder / "precision_recall.png"
            plot_precision_recall(scores.curves, IOU_THRESHOLDS, files["precision and recall"])
        files["confusion matrix"] = folder / "confusion.png"
        targets = annotated(data).ground_truth(scores.image_ids, False)
        matrix = confusion_matrix(targets, scores.results, info.ids or [], LEAST)
        title = f"{counted(len(scores.image_ids), 'image')}, boxes with IoU 0.5 and a score of {LEAST:g} or more"
        plot_confusion(matrix, [*info.names, BACKGROUND], files["confusion matrix"], title=title)
        return files

    def _tiles(self, records: Any, info: ClassInfo) -> list[Tile]:
        """Targets and predictions of every k-th image, so that the sheet is the same kind of sample each time."""
        scores = self._scores
        index_of = {int(number): index for index, number in enumerate(records.annotations.image_ids)}
        tiles: list[Tile] = []
        for number in scores.image_ids[:: max(len(scores.image_ids) // SHOWN, 1)][:SHOWN]:
            index = index_of[number]
            try:
                image = Image.fromarray(records.image(index).permute(1, 2, 0).numpy())
                objects = records.objects(index, records.masks and records.mask_pixels(index) < MANY_PIXELS)
            except UnreadableImage:
                continue
            target = draw_objects(
                image,
                objects["boxes"].numpy(),
                objects["labels"].tolist(),
                info.names,
                masks=list(objects["masks"].numpy()) if "masks" in objects else None,
                least_edge=EDGE,
            )
            results = [r for r in scores.results if r["image_id"] == number and r["score"] >= LEAST]
            tiles.append((target, f"target\n{str(records.ids[index]).rpartition('/')[2]}"))
            tiles.append((draw_results(image, results, info, least_edge=EDGE), "prediction"))
        return tiles

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write COCO's submission file and the table of classes."""
        if self._evaluator is None:
            return {}
        scores, info = self._scores, data.class_info
        submission, table = folder / "detections.json", folder / "classes.json"
        write_submission(submission, scores.results, data.records(data.evaluation_split))
        rows = [
            {"id": number, "name": name}
            | {
                f"{kind}_ap": round(100 * float(values[i]), 4)
                for kind, values in scores.per_class.items()
                if values[i] >= 0
            }
            for i, (number, name) in enumerate(zip(info.ids or [], info.names, strict=True))
        ]
        write_whole(table, json.dumps(rows, indent=1) + "\n")
        return {"submission": submission, "classes": table}


def write_submission(file: Path, results: Sequence[Result], records: Any) -> None:
    """Write detections in COCO's submission format, with the ids that the annotation file has."""
    notes = records.annotations
    stated = dict(zip(notes.image_ids.tolist(), notes.file_ids, strict=True))
    own = [result | {"image_id": stated[result["image_id"]]} for result in results]
    write_whole(file, json.dumps(own) + "\n")


def boxes_of(masks: Sequence[np.ndarray] | None) -> np.ndarray:
    """The boxes around masks ``(H, W)`` as x1 y1 x2 y2, float ``(N, 4)``; zeros around an empty one."""
    boxes = np.zeros((len(masks or ()), 4))
    for box, mask in zip(boxes, masks or (), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
