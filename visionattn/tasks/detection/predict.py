"""Predictions of a detector on a user's own images: objects drawn, listed, and in COCO's formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as run_lengths
from PIL import Image
from torch import Tensor

from visionattn.data.classes import ClassInfo
from visionattn.data.detection.masks import draw
from visionattn.drawing.detection import draw_objects
from visionattn.heads.detection.detector import Paste
from visionattn.heads.detection.paste_masks import paste_masks
from visionattn.tasks.detection.average_precision import Result
from visionattn.tasks.detection.metric import detection_results
from visionattn.tasks.predict import DRAWN_EDGE, Predicted, write_json


def draw_results(image: Image.Image, results: Sequence[Result], info: ClassInfo, least_edge: int = 0) -> Image.Image:
    """Draw detections in COCO's format on an image."""
    label_of = {number: label for label, number in enumerate(info.ids or [])}
    boxes = np.array([r["bbox"] for r in results], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = (draw([r["segmentation"]], image.height, image.width)[0] for r in results if "segmentation" in r)
    labels, scores = [label_of[r["category_id"]] for r in results], [r["score"] for r in results]
    return draw_objects(image, boxes, labels, info.names, scores=scores, masks=masks, least_edge=least_edge)


def predicted_detections(
    image: Image.Image, detections: Mapping[str, Tensor], info: ClassInfo, paste: Paste = paste_masks
) -> Predicted:
    """The prediction for one image from boxes, scores, labels and perhaps masks, at the image's own size."""
    results = detection_results([detections], [0], [(image.height, image.width)], info.ids or [], paste)
    return predicted_objects(image, results, info)


def predicted_objects(image: Image.Image, results: Sequence[Result], info: ClassInfo) -> Predicted:
    """The prediction for one image from results in COCO's format: objects drawn on it, and listed."""
    name_of = dict(zip(info.ids or [], info.names, strict=True))
    objects = [
        {"class": name_of[result["category_id"]]} | {key: value for key, value in result.items() if key != "image_id"}
        for result in results
    ]
    rows = [
        {key: one[key] for key in ("class", "category_id", "score")}
        | dict(zip(("x", "y", "width", "height"), one["bbox"], strict=True))
        for one in objects
    ]
    draw = partial(draw_results, image, results, info, least_edge=DRAWN_EDGE)
    return Predicted(draw, {"objects": objects}, rows, Counter(one["class"] for one in objects))


def coco_files(folder: Path, images: Sequence[Mapping[str, Any]], info: ClassInfo) -> dict[str, Path]:
    """Write ``detections.json``, COCO's format of results, and ``coco.json``, the same as an annotation file.

    Images are numbered from 1 in the order of ``predictions.json``.
    """
    keys, results, annotations = ("category_id", "bbox", "score", "segmentation"), list[Result](), list[Result]()
    for number, image in enumerate(images, 1):
        for one in image["objects"]:
            result = {"image_id": number} | {key: one[key] for key in keys if key in one}
            results.append(result)
            annotations.append({"id": len(results), **result, "area": _area(result), "iscrowd": 0})
    contents = {
        "images": listed_images(images),
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in zip(info.ids or [], info.names, strict=True)],
    }
    write_json(folder / "detections.json", results)
    write_json(folder / "coco.json", contents)
    return {"COCO's results": folder / "detections.json", "COCO's annotations": folder / "coco.json"}


def listed_images(images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries ``images`` of a file in COCO's format."""
    return [
        {"id": number, "file_name": image["image"], "width": image["size"][0], "height": image["size"][1]}
        for number, image in enumerate(images, 1)
    ]


def _area(result: Result) -> float:
    if "segmentation" in result:
        return float(run_lengths.area(result["segmentation"]))
    return float(result["bbox"][2] * result["bbox"][3])
