"""What detection says about a validation: predictions beside the truth, average precision per class, the submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visionattn.data.detection.masks import draw
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.detection import draw_objects, plot_class_ap, plot_comparison
from visionattn.tasks.observer import SHOWN, Observer

_LEAST, _EDGE = 0.5, 256


class DetectionObserver(Observer):
    """Reads the scores that the task's metric keeps of the latest validation."""

    def __init__(self, task: Any):
        self._task = task

    @property
    def ids(self) -> list[str]:
        return self._task.metrics.latest.ids

    def draw(self, folder: Path, data: Any) -> dict[str, Path]:
        """A sheet of predictions beside the truth, and a bar chart of the classes."""
        latest, names = self._task.metrics.latest, self._task.class_info.get("names", [])
        if not latest.ids:
            return {}
        pictures = {"predictions and truth": folder / "predictions.png", "classes": folder / "classes.png"}
        plot_comparison(self._rows(data.records("val"), names), pictures["predictions and truth"])
        shares = {kind: 100 * np.maximum(values, 0) for kind, values in latest.per_class.items()}
        plot_class_ap(names, {kind: list(values) for kind, values in shares.items()}, pictures["classes"])
        return pictures

    def _rows(self, records: Any, names: list[str]) -> list[tuple[str, Image.Image, Image.Image]]:
        """Every k-th image of the set, so that the sheet is the same kind of sample each time."""
        latest = self._task.metrics.latest
        label_of = {number: label for label, number in enumerate(self._task.class_info["ids"])}
        place_of = {int(number): place for place, number in enumerate(records.annotations.image_ids)}
        rows = []
        for number in latest.image_ids[:: max(len(latest.image_ids) // SHOWN, 1)][:SHOWN]:
            index = place_of[number]
            try:
                picture = Image.fromarray(records.image(index).permute(1, 2, 0).numpy())
                truth = records.objects(index)
            except UnreadableImage:
                continue
            true = draw_objects(
                picture,
                truth["boxes"].numpy(),
                truth["labels"].tolist(),
                names,
                masks=list(truth["masks"].numpy()) if "masks" in truth else None,
                least_edge=_EDGE,
            )
            said = [r for r in latest.results if r["image_id"] == number and r["score"] >= _LEAST]
            boxes = np.array([r["bbox"] for r in said], np.float64).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            masks = list(draw([r["segmentation"] for r in said if "segmentation" in r], *records.size(index)))
            labels, scores = [label_of[r["category_id"]] for r in said], [r["score"] for r in said]
            drawn = draw_objects(picture, boxes, labels, names, scores=scores, masks=masks, least_edge=_EDGE)
            rows.append((records.ids[index], true, drawn))
        return rows

    def files(self, folder: Path) -> dict[str, Path]:
        """COCO's submission file, and the table of classes."""
        latest, facts = self._task.metrics.latest, self._task.class_info
        submission, table = folder / "detections.json", folder / "classes.json"
        submission.write_text(json.dumps(latest.results) + "\n", encoding="utf-8")
        rows = [
            {"id": number, "name": name}
            | {
                f"{kind}_ap": round(100 * float(values[i]), 4)
                for kind, values in latest.per_class.items()
                if values[i] >= 0
            }
            for i, (number, name) in enumerate(zip(facts["ids"], facts["names"], strict=True))
        ]
        table.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return {"submission": submission, "classes": table}
