"""LVIS: COCO's images with about 1,200 classes, each annotated on some of the images only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from visionattn.data.detection.formats.content import listing
from visionattn.data.detection.json_file import read_json
from visionattn.data.detection.sources import CocoRecords
from visionattn.data.facts import DataFacts, sampled_size
from visionattn.errors import DataError

ANNOTATIONS = {"train": "lvis_v1_train.json", "val": "lvis_v1_val.json"}
_PLACES = (".", "annotations", "lvis")
_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


class LvisRecords(CocoRecords):
    """One split of LVIS; see :class:`Lvis`."""

    def content(self) -> dict[str, Any]:
        """All annotations of the split, with the image files that LVIS names by their addresses."""
        return federated(read_json(self.file), self.file)


class Lvis:
    """LVIS (Gupta et al. 2019, arXiv 1908.03195): images in COCO's folders, annotations in its own files.

    The evaluation takes what the annotations state of every image: which classes were looked for and not found
    (``neg_category_ids``) and which were not annotated exhaustively (``not_exhaustive_category_ids``). Training takes
    an image's objects as they are.

    Args:
        root: folder that holds COCO's ``train2017`` and ``val2017``; LVIS validates on images of both.
        annotations: split -> file in root, root/annotations or root/lvis.
        masks: read masks too.
        empty_images: train on images without objects too; evaluation always has them.

    Raises:
        DataError: (on reading) a file is missing, or is no LVIS annotation file.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(
        self,
        root: str,
        annotations: Mapping[str, str] = ANNOTATIONS,
        masks: bool = True,
        empty_images: bool = True,
    ) -> None:
        self.root = Path(root).expanduser()
        self.annotations, self.masks, self.empty_images = dict(annotations), masks, empty_images

    def open(self, split: str) -> CocoRecords:
        """Read one split; the annotations of test are not published."""
        return LvisRecords(self.root, self.file(split), self.masks, self.empty_images or split != "train")

    def file(self, split: str) -> Path:
        """The annotation file of a split.

        Raises:
            DataError: there is none.
        """
        name = self.annotations.get(split)
        if name is None:
            raise DataError(f"data.source.annotations names no file for {split}")
        for place in _PLACES:
            if (self.root / place / name).is_file():
                return self.root / place / name
        raise DataError(
            f"{name} is neither in {self.root} nor in its folders annotations and lvis; set data.root to the folder of "
            f"train2017 and val2017, or data.source.annotations to the files ({listing(self.root)})"
        )

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`."""
        source = cls(str(root), options.get("annotations") or ANNOTATIONS)
        train, val = (federated(read_json(source.file(split)), source.file(split)) for split in ("train", "val"))
        names = [category["name"] for category in sorted(train["categories"], key=lambda one: one["id"])]
        return DataFacts(
            num_classes=len(names),
            class_names=tuple(names),
            image_size=sampled_size(source.root / image["file_name"] for image in train["images"]),
            images={"train": len(train["images"]), "val": len(val["images"])},
            options={"masks": bool(options.get("masks", True))},
            notes=("LVIS: scored by its own rules for classes that are not annotated on every image",),
        )


def federated(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Contents of an LVIS file with ``file_name`` and ``iscrowd`` as COCO has them; changed in place.

    Raises:
        DataError: an image lacks one of the two lists of classes or an address, or a category its frequency.
    """
    for image in content["images"]:
        if not isinstance(image, dict) or not all(isinstance(image.get(name), list) for name in _LISTS):
            raise DataError(
                f"{path} is no LVIS annotation file: an image has no {' or '.join(_LISTS)}; otherwise take data=coco"
            )
        address = image.get("coco_url")
        if isinstance(address, str):
            image["file_name"] = os.path.join(*PurePosixPath(address).parts[-2:])
        elif not isinstance(image.get("file_name"), str):
            raise DataError(f"{path}: image {image.get('id')} has neither coco_url nor file_name")
    for category in content["categories"]:
        if not isinstance(category, dict) or category.get("frequency") not in ("r", "c", "f"):
            raise DataError(f"{path}: a category has no frequency r, c or f: {str(category)[:80]}")
    for annotation in content["annotations"]:
        if isinstance(annotation, dict):
            annotation["iscrowd"] = 0
    return content
