"""Damaged trees in COCO's panoptic layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.corpus.cases import Case, adding, in_json
from tests.corpus.coco_cases import rename_images
from tests.corpus.trees import segment_map

CASES: list[Case] = []
tree = adding(CASES, "panoptic")
Content = dict[str, Any]
FILES = "annotations/panoptic_*.json"


def entries(code: int = 0, says: str = "", **options: Any) -> Callable[[Callable[[Content], None]], Any]:
    """Add a case that changes the contents of the panoptic annotation files."""

    def add(change: Callable[[Content], None]) -> Callable[[Content], None]:
        def whole(root: Path) -> None:
            in_json(root, change, FILES)

        CASES.append(Case(change.__name__, "panoptic", whole, code=code, says=says, **options))
        return change

    return add


def segments(content: Content) -> list[Content]:
    """All segments of a file."""
    return [segment for one in content["annotations"] for segment in one["segments_info"]]


@entries()
def healthy(content: Content) -> None:
    """Nothing is changed."""


@entries()
def image_ids_text(content: Content) -> None:
    rename_images(content, str)


@entries()
def image_ids_floats(content: Content) -> None:
    rename_images(content, float)


@entries()
def crowd_null(content: Content) -> None:
    for segment in segments(content):
        segment["iscrowd"] = None


@entries()
def crowd_absent(content: Content) -> None:
    for segment in segments(content):
        del segment["iscrowd"]


@entries()
def area_null(content: Content) -> None:
    for segment in segments(content):
        segment["area"] = None


@entries()
def area_and_box_absent(content: Content) -> None:
    for segment in segments(content):
        del segment["area"], segment["bbox"]


@entries(1, "without pixels in the map: 200")
def segment_that_the_map_does_not_have(content: Content) -> None:
    for one in content["annotations"]:
        one["segments_info"].append({"id": 200, "category_id": 3, "area": 5, "bbox": [0, 0, 2, 2], "iscrowd": 0})


@entries(1, "(segment|map)")
def segments_that_the_file_does_not_have(content: Content) -> None:
    for one in content["annotations"]:
        one["segments_info"] = one["segments_info"][:1]


@entries(1, "segment")
def segments_info_absent(content: Content) -> None:
    for one in content["annotations"]:
        del one["segments_info"]


@entries(1, "categor")
def unknown_category(content: Content) -> None:
    for segment in segments(content):
        segment["category_id"] = 77


@entries()
def isthing_text(content: Content) -> None:
    for one in content["categories"]:
        one["isthing"] = str(one["isthing"])


@entries(1, "isthing")
def isthing_absent(content: Content) -> None:
    for one in content["categories"]:
        del one["isthing"]


@entries(1, "left_out_budget")
def null_entries(content: Content) -> None:
    content["annotations"].append(None)
    content["images"].append(None)


@entries()
def sizes_absent(content: Content) -> None:
    for one in content["images"]:
        del one["height"], one["width"]


@entries(says="annotations without file_name, whose map is named as the image")
def map_names_absent(content: Content) -> None:
    for one in content["annotations"]:
        del one["file_name"]


@tree(1, "panoptic map cannot be read")
def maps_missing(root: Path) -> None:
    shutil.rmtree(root / "panoptic_train2017")


@tree(1, "(size|24)")
def maps_of_another_size(root: Path) -> None:
    for path in root.glob("panoptic_*/*.png"):
        with Image.open(path) as image:
            small = image.resize((32, 24), Image.Resampling.NEAREST)
        small.save(path)


@tree(1, "RGBA")
def maps_with_alpha(root: Path) -> None:
    for path in root.glob("panoptic_*/*.png"):
        with Image.open(path) as image:
            image.load()
        image.convert("RGBA").save(path)


@tree(1, "a panoptic map is RGB")
def maps_gray(root: Path) -> None:
    """Ids below 256 in one channel."""
    for path in root.glob("panoptic_*/*.png"):
        Image.fromarray(segment_map(int(path.stem))).save(path)


@tree()
def large_ids(root: Path) -> None:
    """Ids that need all three channels."""
    for path in root.glob("panoptic_*/*.png"):
        ids = segment_map(int(path.stem)).astype(np.uint32) * 100_000
        Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)).save(path)

    def change(content: Content) -> None:
        for segment in segments(content):
            segment["id"] *= 100_000

    in_json(root, change, FILES)


@tree()
def byte_order_mark(root: Path) -> None:
    for path in root.glob(FILES):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@tree(1, "panoptic_train2017")
def file_cut_off(root: Path) -> None:
    for path in root.glob(FILES):
        path.write_bytes(path.read_bytes()[:-30])
