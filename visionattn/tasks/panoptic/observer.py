"""What panoptic segmentation says about a validation: predictions beside the truth, quality of the classes, results in
COCO's format.

Shapes: H W picture, K classes, n segments.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer
from PIL import Image

from visionattn.data.detection.masks import draw as draw_masks
from visionattn.data.panoptic.maps import decode_map, describe, encode_map, segment_ids, to_colors
from visionattn.data.panoptic.write import PanopticFile, map_name, write_panoptic
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.detection import draw_objects, plot_comparison
from visionattn.drawing.panoptic import draw_segments, plot_class_quality
from visionattn.heads.panoptic.postprocess import Segments
from visionattn.tasks.observer import SHOWN, KeepingObserver
from visionattn.tasks.panoptic.metric import figures, per_class
from visionattn.tasks.predict import Predicted
from visionattn.training.task import StepOutput

_EDGE = 256


class PanopticObserver(KeepingObserver):
    """Keeps the maps of a validation: all of them where a model is evaluated, some of them between epochs of training.

    Args:
        task: whose metric holds the counts.
    """

    kept: dict[str, PanopticFile]

    def __init__(self, task: Any) -> None:
        super().__init__()
        self._task = task

    def part(self, outputs: StepOutput, batch: Any, place: int) -> PanopticFile:
        segments = outputs.prediction[place].segments
        return as_file(segments, batch["id"][place], batch["image_id"][place], self._task.class_info["ids"])

    def limit(self, trainer: Trainer) -> int | None:
        return SHOWN if trainer.state.fn == "fit" else None

    def figures(self, data: Any) -> dict[str, float]:
        """The nine figures in double precision, from the integer counts."""
        return figures(self._counts(), self._task.things)

    def draw(self, folder: Path, data: Any) -> dict[str, Path]:
        """A sheet of predictions beside the truth, and a bar chart of the classes."""
        if not self.kept:
            return {}
        pictures = {"predictions and truth": folder / "predictions.png", "classes": folder / "classes.png"}
        plot_comparison(self._rows(data.records("val")), pictures["predictions and truth"])
        facts = self._task.class_info
        plot_class_quality(facts["names"], facts["things"], per_class(self._counts()).numpy(), pictures["classes"])
        return pictures

    def _rows(self, records: Any) -> list[tuple[str, Image.Image, Image.Image]]:
        names = self._task.class_info["names"]
        label_of = {number: label for label, number in enumerate(self._task.class_info["ids"])}
        place_of, rows = {name: place for place, name in enumerate(records.ids)}, []
        for name in list(self.kept)[:SHOWN]:
            index, said = place_of[name], self.kept[name]
            try:
                picture = Image.fromarray(records.image(index).permute(1, 2, 0).numpy())
                truth = records.segments(index)
            except UnreadableImage:
                continue
            true = draw_segments(picture, truth["ids"].numpy(), truth["labels"].tolist(), names, least_edge=_EDGE)
            ids = segment_ids(decode_map(said.content), [segment["id"] for segment in said.segments])
            labels = [label_of[segment["category_id"]] for segment in said.segments]
            rows.append((name, true, draw_segments(picture, ids, labels, names, least_edge=_EDGE)))
        return rows

    def files(self, folder: Path) -> dict[str, Path]:
        """``panoptic.json`` with the folder ``panoptic``, results in COCO's format; ``classes.csv``: a row for each
        class; with instances ``detections.json``, COCO's submission file.
        """
        facts, table = self._task.class_info, folder / "classes.csv"
        rows = zip(facts["ids"], facts["names"], facts["things"], strict=True)
        kinds = [{"id": number, "name": name, "isthing": int(thing)} for number, name, thing in rows]
        write_panoptic(folder / "panoptic", folder / "panoptic.json", self.kept.values(), kinds)
        counts = self._counts()
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "id", "thing", "PQ", "SQ", "RQ", "TP", "FP", "FN"])
            for kind, row, numbers in zip(kinds, per_class(counts).T.tolist(), counts[1:].T.tolist(), strict=True):
                writer.writerow([kind["name"], kind["id"], kind["isthing"], *row, *numbers])
        written = {"panoptic results": folder / "panoptic.json", "classes": table}
        if self._task.instance:
            written["submission"] = folder / "detections.json"
            text = json.dumps(self._task.metrics.latest.results) + "\n"
            written["submission"].write_text(text, encoding="utf-8")
        return written

    def _counts(self) -> Any:
        quality = self._task.quality
        assert quality is not None
        return quality.latest


def as_file(found: Segments, name: str, image_id: int, category_ids: Sequence[int]) -> PanopticFile:
    """A predicted map as a file of COCO's format; segments are numbered from 1."""
    ids = found.ids.cpu().numpy()
    segments = describe(ids, range(1, len(found.labels) + 1), [category_ids[label] for label in found.labels.tolist()])
    for segment, score in zip(segments, found.scores.tolist(), strict=True):
        segment["score"] = score
    return PanopticFile(image_id, map_name(name), encode_map(ids), segments)


def draw_panoptic(image: Image.Image, found: Segments, facts: Mapping[str, Any]) -> Predicted:
    """The answer for one picture: its segments drawn over it, listed, and the map in COCO's format as a PNG."""
    one = as_file(found, "picture", 0, facts["ids"])
    label_of = {number: label for label, number in enumerate(facts["ids"])}
    ids = decode_map(one.content)
    labels, scores = [label_of[s["category_id"]] for s in one.segments], [s["score"] for s in one.segments]
    drawn = draw_segments(image, ids, labels, facts["names"], scores=scores)
    listed = [
        {"class": facts["names"][label], "thing": bool(facts["things"][label])} | segment
        for label, segment in zip(labels, one.segments, strict=True)
    ]
    return Predicted(drawn, {"segments": listed}, {"panoptic": Image.fromarray(to_colors(ids))})


def draw_instances(
    image: Image.Image, lines: Sequence[dict[str, Any]], names: Sequence[str], category_ids: Sequence[int]
) -> Predicted:
    """The answer for one picture, of a model for instances: boxes and masks drawn over it, and listed."""
    label_of = {number: label for label, number in enumerate(category_ids)}
    boxes = np.array([line["bbox"] for line in lines], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = draw_masks([line["segmentation"] for line in lines], image.height, image.width)
    labels, scores = [label_of[line["category_id"]] for line in lines], [line["score"] for line in lines]
    drawn = draw_objects(image, boxes, labels, names, scores=scores, masks=list(masks))
    listed = [
        {"class": names[label]} | {name: value for name, value in line.items() if name != "image_id"}
        for label, line in zip(labels, lines, strict=True)
    ]
    return Predicted(drawn, {"objects": listed})
