"""Predictions of a panoptic model on a user's own images: segments drawn, listed, and in COCO's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from visionattn.data.classes import ClassInfo
from visionattn.data.panoptic.maps import decode_map, describe, encode_map, to_colors
from visionattn.data.panoptic.write import PanopticFile, map_name
from visionattn.drawing.canvas import with_legend
from visionattn.drawing.palette import class_color
from visionattn.drawing.panoptic import draw_segments
from visionattn.heads.panoptic.postprocess import Segments
from visionattn.tasks.detection.predict import listed_images
from visionattn.tasks.predict import DRAWN_EDGE, Predicted, write_json

MAPS = "panoptic"
"""Kind of the maps, and the folder that they lie in."""


def as_file(segments: Segments, name: str, image_id: int, category_ids: Sequence[int]) -> PanopticFile:
    """A predicted map as a file of COCO's format; segments are numbered from 1."""
    ids = segments.ids.cpu().numpy()
    categories = [category_ids[label] for label in segments.labels.tolist()]
    listed = describe(ids, range(1, len(categories) + 1), categories)
    for segment, score in zip(listed, segments.scores.tolist(), strict=True):
        segment["score"] = score
    return PanopticFile(image_id, map_name(name), encode_map(ids), listed)


def predicted_segments(image: Image.Image, segments: Segments, info: ClassInfo) -> Predicted:
    """The prediction for one image: its segments drawn over it, listed, and the map in COCO's format as a PNG."""
    category_ids, things = info.ids or [], info.things or []
    file = as_file(segments, "image", 0, category_ids)
    label_of = {number: label for label, number in enumerate(category_ids)}
    ids = decode_map(file.content)
    labels, scores = [label_of[s["category_id"]] for s in file.segments], [s["score"] for s in file.segments]
    listed = [
        {"class": info.names[label], "thing": bool(things[label])} | segment
        for label, segment in zip(labels, file.segments, strict=True)
    ]

    def draw() -> Image.Image:
        shown = draw_segments(image, ids, labels, info.names, things=info.things, scores=scores, least_edge=DRAWN_EDGE)
        return with_legend(shown, [(info.names[label], class_color(label)) for label in dict.fromkeys(labels)])

    columns = ("class", "thing", "category_id", "id", "score", "area")
    rows = [{key: segment[key] for key in columns} for segment in listed]
    maps = {MAPS: Image.fromarray(to_colors(ids))}
    return Predicted(draw, {"segments": listed}, rows, Counter(info.names[label] for label in labels), maps)


def panoptic_file(folder: Path, images: Sequence[Mapping[str, Any]], info: ClassInfo) -> dict[str, Path]:
    """Write ``panoptic.json``, COCO's format of panoptic results; the maps lie in the folder ``panoptic``.

    Images are numbered from 1 in the order of ``predictions.json``.
    """
    annotations = [
        {
            "image_id": number,
            "file_name": image["files"][MAPS].removeprefix(f"{MAPS}/"),
            "segments_info": [
                {key: value for key, value in segment.items() if key not in ("class", "thing")}
                for segment in image["segments"]
            ],
        }
        for number, image in enumerate(images, 1)
    ]
    classes = zip(info.ids or [], info.names, info.things or [], strict=True)
    categories = [{"id": number, "name": name, "isthing": int(thing)} for number, name, thing in classes]
    file = folder / "panoptic.json"
    write_json(file, {"images": listed_images(images), "annotations": annotations, "categories": categories})
    return {"COCO's panoptic results": file}
