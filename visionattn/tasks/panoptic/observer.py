"""What is reported of a panoptic segmentation: predictions beside targets, quality per class, results in COCO's format.

Shapes: H W image, K classes, n segments.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning import Trainer
from PIL import Image
from torch import Tensor

from visionattn.data.classes import ClassInfo
from visionattn.data.panoptic.maps import decode_map, segment_ids
from visionattn.data.panoptic.write import PanopticFile, write_panoptic
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.bars import plot_class_bars
from visionattn.drawing.canvas import sheet_of
from visionattn.drawing.panoptic import draw_segments
from visionattn.files import write_rows
from visionattn.heads.panoptic.postprocess import Segments
from visionattn.reports import Sample, Section, shrink_map, thumbnail
from visionattn.reports.images import THUMBNAIL
from visionattn.tasks.detection.metric import CocoEvaluator
from visionattn.tasks.detection.observer import write_submission
from visionattn.tasks.detection.report import precision_recall
from visionattn.tasks.observer import SHOWN, SampleObserver
from visionattn.tasks.panoptic.metric import PanopticQualityEvaluator, figures, per_class
from visionattn.tasks.panoptic.predict import as_file
from visionattn.tasks.panoptic.report import RANKED_BY, class_sections, segments_layer, segments_sample
from visionattn.tasks.pictures import EDGE, Tile, as_image, caption_of
from visionattn.training.step import StepOutput
from visionattn.training.task import data_of

if TYPE_CHECKING:
    from visionattn.data.module import VisionData


class PanopticObserver(SampleObserver):
    """An observer that keeps panoptic maps: all where a model is evaluated, some between epochs of training.

    Args:
        quality: keeps the counts of the segments.
        instances: keeps the scores of the instances; None: they are not evaluated.
    """

    kept: dict[str, PanopticFile]
    ranked_by, noun = RANKED_BY, "segments"

    def __init__(self, quality: PanopticQualityEvaluator, instances: CocoEvaluator | None) -> None:
        super().__init__()
        self._quality, self._instances = quality, instances

    def sample(self, output: StepOutput, batch: Any, index: int, trainer: Trainer) -> PanopticFile:
        segments = output.prediction[index].segments
        return as_file(segments, batch["id"][index], batch["image_id"][index], data_of(trainer).class_info.ids or [])

    def limit(self, trainer: Trainer) -> int | None:
        return SHOWN if trainer.state.fn == "fit" else None

    def rank(self, trainer: Trainer, output: StepOutput, batch: Any) -> None:
        for index, quality in enumerate(self._quality.quality.of_images):
            draw = partial(_sample, data_of(trainer), output.prediction[index].segments, batch, index, quality)
            self.ranked.offer(quality, batch["id"][index], draw)

    def sections(self, data: VisionData) -> list[Section]:
        """Samples, classes, and of instances precision and recall."""
        sections = [*super().sections(data), *class_sections(self._counts, data.class_info)]
        return sections if self._instances is None else [*sections, *precision_recall(self._instances.latest.curves)]

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
        files = {"predictions and targets": folder / "predictions.png", "classes": folder / "classes.png"}
        info = data.class_info
        sheet_of(self._tiles(data.records(data.evaluation_split), info), columns=6, edge=EDGE).save(
            files["predictions and targets"]
        )
        quality = per_class(self._counts).numpy()
        things = np.array(info.things or [True] * len(info.names))
        plot_class_bars(
            info.names,
            {
                "PQ of things": np.where(things, quality[0], np.nan).tolist(),
                "PQ of stuff": np.where(things, np.nan, quality[0]).tolist(),
            },
            files["classes"],
            label="panoptic quality (%)",
            marks={"SQ": quality[1].tolist(), "RQ": quality[2].tolist()},
        )
        return files

    def tiles(self, batch: Any, data: VisionData, count: int) -> list[Tile]:
        """Return the first images with their segments."""
        info, tiles = data.class_info, []
        for index, target in enumerate(batch["target"][:count]):
            height, width = batch["size"][index]
            image = as_image(batch["image"][index][:, :height, :width], data.mean, data.std)
            ids = np.zeros((height, width), np.int64)
            for number, mask in enumerate(target["masks"].cpu().numpy()[:, :height, :width]):
                ids[mask > 0] = number + 1
            labels = target["labels"].tolist()
            drawn = draw_segments(image, ids, labels, info.names, things=info.things, least_edge=EDGE)
            tiles.append((drawn, caption_of(batch, index)))
        return tiles

    def _tiles(self, records: Any, info: ClassInfo) -> list[Tile]:
        label_of = {number: label for label, number in enumerate(info.ids or [])}
        index_of = {name: index for index, name in enumerate(records.ids)}
        tiles: list[Tile] = []
        for name in list(self.kept)[:SHOWN]:
            index, predicted = index_of[name], self.kept[name]
            try:
                image = Image.fromarray(records.image(index).permute(1, 2, 0).numpy())
                segments = records.segments(index)
            except UnreadableImage:
                continue
            shown: dict[str, Any] = {"names": info.names, "things": info.things, "least_edge": EDGE}
            target = draw_segments(image, segments["ids"].numpy(), segments["labels"].tolist(), **shown)
            ids = segment_ids(decode_map(predicted.content), [segment["id"] for segment in predicted.segments])
            labels = [label_of[segment["category_id"]] for segment in predicted.segments]
            tiles.append((target, f"target\n{name.rpartition('/')[2]}"))
            tiles.append((draw_segments(image, ids, labels, **shown), "prediction"))
        return tiles

    def files(self, folder: Path, data: VisionData) -> dict[str, Path]:
        """Write the results in COCO's format and the table of classes.

        They are ``panoptic.json`` with the folder ``panoptic``; ``classes.csv``, a row per class; with instances also
        ``detections.json``, COCO's submission file.
        """
        info, table = data.class_info, folder / "classes.csv"
        rows = zip(info.ids or [], info.names, info.things or [], strict=True)
        kinds = [{"id": number, "name": name, "isthing": int(thing)} for number, name, thing in rows]
        notes: Any = data.records(data.evaluation_split).annotations
        stated = dict(zip(notes.image_ids.tolist(), notes.file_ids, strict=True))
        files = (replace(file, image_id=stated[file.image_id]) for file in self.kept.values())
        write_panoptic(folder / "panoptic", folder / "panoptic.json", files, kinds)
        counts = self._counts
        lines = zip(kinds, per_class(counts).T.tolist(), counts[1:].T.tolist(), strict=True)
        cells = ([kind["name"], kind["id"], kind["isthing"], *row, *numbers] for kind, row, numbers in lines)
        write_rows(table, [["class", "id", "thing", "PQ", "SQ", "RQ", "TP", "FP", "FN"], *cells])
        written = {"panoptic results": folder / "panoptic.json", "classes": table}
        if self._instances is not None:
            written["submission"] = folder / "detections.json"
            write_submission(written["submission"], self._instances.latest.results, data.records(data.evaluation_split))
        return written


def _sample(data: VisionData, predicted: Segments, batch: Any, index: int, quality: float) -> Sample:
    """An image of a batch with its panoptic maps, predicted and target."""
    height, width = batch["size"][index]
    image = thumbnail(as_image(batch["image"][index][:, :height, :width], data.mean, data.std))
    target, layers = batch["target"][index], []
    for name, ids, labels in (
        ("target", target["ids"], target["labels"]),
        ("prediction", predicted.ids, predicted.labels),
    ):
        small = shrink_map(ids.cpu().numpy(), THUMBNAIL)
        layers.append(segments_layer(name, small, labels.tolist(), data.class_info, name == "prediction"))
    return segments_sample(image, caption_of(batch, index), quality, layers)
