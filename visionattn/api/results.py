"""What a model predicts, as plain values.

Shapes: N objects or segments, K classes, H W image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as run_lengths
from PIL import Image

from visionattn.data.classes import ClassInfo
from visionattn.data.detection.masks import draw
from visionattn.data.panoptic.maps import to_numbers
from visionattn.data.user_images import UserImage
from visionattn.tasks.panoptic.predict import MAPS as SEGMENTS
from visionattn.tasks.predict import Predicted
from visionattn.tasks.segmentation.predict import MAPS


@dataclass(frozen=True)
class Result:
    """The prediction for one image.

    Attributes:
        image: its name, for instance its path below the folder that all images have in common.
        size: (width, height) in pixels.
        info: what is known of the classes.
        predicted: as the task gives it.
    """

    image: str
    size: tuple[int, int]
    info: ClassInfo = field(repr=False)
    predicted: Predicted = field(repr=False)

    def draw(self) -> Image.Image:
        """The image with the prediction drawn on it, RGB; a small one is enlarged."""
        return self.predicted.draw()

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings, lists and mappings: the image's entry in ``predictions.json`` of ``visionattn predict``."""
        return {"image": self.image, "size": list(self.size), **self.predicted.record}

    def to_json(self) -> str:
        """The same as a text in JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def arrays(self) -> dict[str, Any]:
        """The prediction as NumPy arrays, under the names that supervision takes."""
        raise NotImplementedError

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """The prediction in COCO's format of results.

        Args:
            image_id: the image's number in the data set.

        Raises:
            TypeError: COCO has no format for it.
        """
        raise TypeError(f"COCO has no format for a {type(self).__name__}; to_json() has all there is")


class ClassificationResult(Result):
    """The likeliest classes of an image, the first one first."""

    @property
    def labels(self) -> list[str]:
        """Names of the likeliest classes."""
        return [one["class"] for one in self.predicted.record["top"]]

    @property
    def class_ids(self) -> np.ndarray:
        """Their labels, int64 ``(n,)``."""
        return np.array([one["label"] for one in self.predicted.record["top"]], np.int64)

    @property
    def scores(self) -> np.ndarray:
        """Their probabilities, float32 ``(n,)``."""
        return np.array([one["score"] for one in self.predicted.record["top"]], np.float32)

    @property
    def label(self) -> str:
        """Name of the likeliest class."""
        return self.labels[0]

    @property
    def score(self) -> float:
        """Its probability."""
        return float(self.scores[0])

    def arrays(self) -> dict[str, Any]:
        """``class_id`` and ``confidence``: ``supervision.Classifications(**result.arrays())``."""
        return {"class_id": self.class_ids, "confidence": self.scores}


class DetectionResult(Result):
    """Objects with boxes, and with masks where the model has them; the highest score first."""

    @property
    def _objects(self) -> list[dict[str, Any]]:
        return list(self.predicted.record["objects"])

    @property
    def labels(self) -> list[str]:
        """Names of the objects' classes."""
        return [one["class"] for one in self._objects]

    @property
    def class_ids(self) -> np.ndarray:
        """Labels of the objects' classes, int64 ``(N,)`` in 0..K-1."""
        return _labels(self.info, self._objects)

    @property
    def scores(self) -> np.ndarray:
        """Certainties, float32 ``(N,)``."""
        return np.array([one["score"] for one in self._objects], np.float32)

    @property
    def boxes(self) -> np.ndarray:
        """x1 y1 x2 y2 in pixels of the image, float32 ``(N, 4)``."""
        boxes = np.array([one["bbox"] for one in self._objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    @property
    def masks(self) -> np.ndarray | None:
        """Bool ``(N, H, W)``; None where the model has no masks, or there is no object."""
        if not self._objects or "segmentation" not in self._objects[0]:
            return None
        width, height = self.size
        return draw([one["segmentation"] for one in self._objects], height, width).astype(bool)

    def arrays(self) -> dict[str, Any]:
        """``xyxy``, ``mask``, ``confidence``, ``class_id`` and names: ``supervision.Detections(**result.arrays())``."""
        return {
            "xyxy": self.boxes,
            "mask": self.masks,
            "confidence": self.scores,
            "class_id": self.class_ids,
            "data": {"class_name": np.array(self.labels, dtype=np.str_)},
        }

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        keys = ("category_id", "bbox", "score", "segmentation")
        return [{"image_id": image_id} | {key: one[key] for key in keys if key in one} for one in self._objects]


class SegmentationResult(Result):
    """A class for every pixel."""

    @property
    def classes(self) -> np.ndarray:
        """The class map, uint8 ``(H, W)`` in 0..K-1."""
        return np.asarray(self.predicted.maps[MAPS])

    @property
    def shares(self) -> dict[str, float]:
        """Name of each class in the image -> its share of the pixels, the largest first."""
        return {one["class"]: float(one["share"]) for one in self.predicted.record["classes"]}

    @property
    def labels(self) -> list[str]:
        """Names of the classes in the image, the largest first."""
        return list(self.shares)

    @property
    def class_ids(self) -> np.ndarray:
        """Their labels, int64 ``(n,)``."""
        return np.array([one["label"] for one in self.predicted.record["classes"]], np.int64)

    @property
    def masks(self) -> np.ndarray:
        """The pixels of each of these classes, bool ``(n, H, W)``."""
        return self.classes[None] == self.class_ids[:, None, None]

    def arrays(self) -> dict[str, Any]:
        """A mask for each class, with its box: ``supervision.Detections(**result.arrays())``."""
        return _of_masks(self.masks, self.class_ids, self.labels)

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """A mask for each class, as COCO's stuff challenge takes them."""
        ids = self.info.ids or range(len(self.info.names) or int(self.class_ids.max()) + 1)
        return [
            {"image_id": image_id, "category_id": int(ids[label]), "segmentation": _runs(mask)}
            for label, mask in zip(self.class_ids, self.masks, strict=True)
        ]


class PanopticResult(Result):
    """Segments that share no pixel: things one by one, stuff by class."""

    @property
    def segments(self) -> list[dict[str, Any]]:
        """Of each segment ``id``, ``class``, ``thing``, ``score``, ``area``, ``bbox`` and ``category_id``."""
        return list(self.predicted.record["segments"])

    @property
    def ids(self) -> np.ndarray:
        """The ``id`` of every pixel's segment, int32 ``(H, W)``; 0: none."""
        return to_numbers(np.asarray(self.predicted.maps[SEGMENTS]))

    @property
    def labels(self) -> list[str]:
        """Names of the segments' classes."""
        return [one["class"] for one in self.segments]

    @property
    def class_ids(self) -> np.ndarray:
        """Labels of the segments' classes, int64 ``(N,)`` in 0..K-1."""
        return _labels(self.info, self.segments)

    @property
    def masks(self) -> np.ndarray:
        """Bool ``(N, H, W)``."""
        return self.ids[None] == np.array([one["id"] for one in self.segments], np.int32)[:, None, None]

    def arrays(self) -> dict[str, Any]:
        """A mask for each segment, with its box: ``supervision.Detections(**result.arrays())``."""
        scores = np.array([one["score"] for one in self.segments], np.float32)
        return _of_masks(self.masks, self.class_ids, self.labels) | {"confidence": scores}

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """The image's entry in COCO's panoptic results; its map is :attr:`ids` in COCO's colors."""
        listed = [{key: value for key, value in one.items() if key not in ("class", "thing")} for one in self.segments]
        return [{"image_id": image_id, "file_name": f"{Path(self.image).stem}.png", "segments_info": listed}]


_KINDS: dict[str, type[Result]] = {
    "top": ClassificationResult,
    "objects": DetectionResult,
    "classes": SegmentationResult,
    "segments": PanopticResult,
}
"""The key under which a record lists what was predicted -> the result that reads it."""


def result_of(image: UserImage, size: tuple[int, int], predicted: Predicted, info: ClassInfo) -> Result:
    """The result that belongs to what a task predicted; a plain :class:`Result` for a task of the user's own."""
    kind = next((kind for key, kind in _KINDS.items() if key in predicted.record), Result)
    return kind(image.name, size, info, predicted)


def _labels(info: ClassInfo, listed: Iterable[Mapping[str, Any]]) -> np.ndarray:
    label_of = {number: label for label, number in enumerate(info.ids or [])}
    return np.array([label_of[one["category_id"]] for one in listed], np.int64)


def _runs(mask: np.ndarray) -> dict[str, Any]:
    """A mask in COCO's run lengths, as text."""
    coded = run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(coded["size"]), "counts": coded["counts"].decode()}


def _of_masks(masks: np.ndarray, class_ids: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Arrays of masks that have no boxes of their own; these are the smallest around them."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return {"xyxy": boxes, "mask": masks, "class_id": class_ids, "data": {"class_name": np.array(names, dtype=np.str_)}}
