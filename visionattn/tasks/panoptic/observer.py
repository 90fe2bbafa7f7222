"""What is reported of a panoptic segmentation: predictions beside targets, quality per class, results in COCO's format.

Shapes: H W image, K classes, n segments.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Trainer
from PIL import Image
from torch import Tensor

from visionattn.data.classes import ClassInfo
from visionattn.data.panoptic.maps import decode_map, describe, encode_map, segment_ids, to_colors
from visionattn.data.panoptic.write import PanopticFile, map_name, write_panoptic
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.detection import plot_comparison
from visionattn.drawing.panoptic import draw_segments, plot_class_quality
from visionattn.heads.panoptic.postprocess import Segments
from visionattn.tasks.detection.average_precision import Result
from visionattn.tasks.detection.metric import CocoEvaluator
from visionattn.tasks.detection.observer import draw_results, write_submission
from visionattn.tasks.observer import SHOWN, SampleObserver
from visionattn.tasks.panoptic.metric import PanopticQualityEvaluator, figures, per_class
from visionattn.tasks.predict import Predicted
from visionattn.training.task import StepOutput, data_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData

_EDGE = 256


class PanopticObserver(SampleObserver):
    """An observer that keeps panoptic maps: all where a model is evaluated, some between epochs of training.

    Args:
        quality: keeps the counts of the segments.
        instances: keeps the scores of the instances; None: they are not evaluated.
    """

    kept: dict[str, PanopticFile]

    def __init__(self, quality: PanopticQualityEvaluator, instances: CocoEvaluator | None) -> None:
        super().__init__()
        self._quality, self._instances = quality, instances

    def sample(self, output: StepOutput, batch: Any, index: int, trainer: Trainer) -> PanopticFile:
        segments = output.prediction[index].segments
        return as_file(segments, batch["id"][index], batch["image_id"][index], data_of(trainer).class_info.ids or [])

    def limit(self, trainer: Trainer) -> int | None:
        return SHOWN if trainer.state.fn == "fit" else None

    @property
    def _counts(self) -> Tensor:
        counts = self._quality.latest
        assert counts is not None, "asked before a validation"
        return counts

    def figures(self, data: VisionData) -> dict[str, float]:
        """Return the nine figures in double precision, from the integer counts."""
        return figures(self._counts, data.class_info.things or [])

    def draw(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Draw a sheet of predictions beside targets, and a bar chart of the classes."""
        if not self.kept:
            return {}
        files, info = (
            {"predictions and targets": folder / "predictions.png", "classes": folder / "classes.png"},
            data.class_info,
        )
        plot_comparison(self._rows(data.records("val"), info), files["predictions and targets"])
        plot_class_quality(info.names, info.things or [], per_class(self._counts).numpy(), files["classes"])
        return files

    def _rows(self, records: Any, info: ClassInfo) -> list[tuple[str, Image.Image, Image.Image]]:
        label_of = {number: label for label, number in enumerate(info.ids or [])}
        index_of, rows = {name: index for index, name in enumerate(records.ids)}, []
        for name in list(self.kept)[:SHOWN]:
            index, predicted = index_of[name], self.kept[name]
            try:
                image = Image.fromarray(records.image(index).permute(1, 2, 0).numpy())
                segments = records.segments(index)
            except UnreadableImage:
                continue
            target = draw_segments(
                image, segments["ids"].numpy(), segments["labels"].tolist(), info.names, least_edge=_EDGE
            )
            ids = segment_ids(decode_map(predicted.content), [segment["id"] for segment in predicted.segments])
            labels = [label_of[segment["category_id"]] for segment in predicted.segments]
            rows.append((name, target, draw_segments(image, ids, labels, info.names, least_edge=_EDGE)))
        return rows

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write the results in COCO's format and the table of classes.

        They are ``panoptic.json`` with the folder ``panoptic``; ``classes.csv``, a row per class; with instances also
        ``detections.json``, COCO's submission file.
        """
        info, table = data.class_info, folder / "classes.csv"
        rows = zip(info.ids or [], info.names, info.things or [], strict=True)
        kinds = [{"id": number, "name": name, "isthing": int(thing)} for number, name, thing in rows]
        notes: Any = data.records("val").annotations
        stated = dict(zip(notes.image_ids.tolist(), notes.file_ids, strict=True))
        files = (replace(file, image_id=stated[file.image_id]) for file in self.kept.values())
        write_panoptic(folder / "panoptic", folder / "panoptic.json", files, kinds)
        counts = self._counts
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "id", "thing", "PQ", "SQ", "RQ", "TP", "FP", "FN"])
            for kind, row, numbers in zip(kinds, per_class(counts).T.tolist(), counts[1:].T.tolist(), strict=True):
                writer.writerow([kind["name"], kind["id"], kind["isthing"], *row, *numbers])
        written = {"panoptic results": folder / "panoptic.json", "classes": table}
        if self._instances is not None:
            written["submission"] = folder / "detections.json"
            write_submission(written["submission"], self._instances.latest.results, data.records("val"))
        return written


def as_file(segments: Segments, name: str, image_id: int, category_ids: Sequence[int]) -> PanopticFile:
    """A predicted map as a file of COCO's format; segments are numbered from 1."""
    ids = segments.ids.cpu().numpy()
    categories = [category_ids[label] for label in segments.labels.tolist()]
    listed = describe(ids, range(1, len(categories) + 1), categories)
    for segment, score in zip(listed, segments.scores.tolist(), strict=True):
        segment["score"] = score
    return PanopticFile(image_id, map_name(name), encode_map(ids), listed)


def draw_panoptic(image: Image.Image, segments: Segments, info: ClassInfo) -> Predicted:
    """The prediction for one image: its segments drawn over it, listed, and the map in COCO's format as a PNG."""
    category_ids, things = info.ids or [], info.things or []
    file = as_file(segments, "image", 0, category_ids)
    label_of = {number: label for label, number in enumerate(category_ids)}
    ids = decode_map(file.content)
    labels, scores = [label_of[s["category_id"]] for s in file.segments], [s["score"] for s in file.segments]
    drawn = draw_segments(image, ids, labels, info.names, scores=scores)
    listed = [
        {"class": info.names[label], "thing": bool(things[label])} | segment
        for label, segment in zip(labels, file.segments, strict=True)
    ]
    return Predicted(drawn, {"segments": listed}, {"panoptic": Image.fromarray(to_colors(ids))})


def draw_instances(image: Image.Image, results: list[Result], info: ClassInfo) -> Predicted:
    """The prediction for one image of a model for instances: boxes and masks drawn over it, and listed."""
    name_of = dict(zip(info.ids or [], info.names, strict=True))
    listed = [
        {"class": name_of[result["category_id"]]} | {key: value for key, value in result.items() if key != "image_id"}
        for result in results
    ]
    return Predicted(draw_results(image, results, info), {"objects": listed})
