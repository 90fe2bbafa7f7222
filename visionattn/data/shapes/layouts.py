"""Writers of drawn images in the layouts of ImageNet, COCO and ADE20K."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visionattn.data.shapes.compose import compose_objects, compose_single, image_random
from visionattn.data.shapes.outlines import SHAPE_NAMES
from visionattn.data.shapes.polygons import mask_to_box, mask_to_polygons, mask_to_rle
from visionattn.data.shapes.scene import Instance, Scene
from visionattn.data.shapes.textures import TEXTURE_NAMES

JPEG_QUALITY = 92
COCO_IDS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 90)
ADE20K_CLASSES = SHAPE_NAMES + TEXTURE_NAMES
"""Class k is written as k + 1. 0 is "other", which crowds are, as their shapes are too small to tell apart."""


def write_imagenet(root: Path, split: str, count: int, edge: int, seed: int) -> dict[str, int]:
    """Write train|val/<class>/<class>_000001.JPEG; the classes take turns."""
    for index in range(count):
        label = index % len(SHAPE_NAMES)
        scene = compose_single(edge, label, image_random(seed, "imagenet", split, index))
        name = SHAPE_NAMES[label]
        _save(scene, root / split / name / f"{name}_{index:06d}.JPEG")
    return {"images": count, "objects": count}


@dataclass
class Drawn:
    """An image that is written, with its entry in COCO's list of images."""

    scene: Scene
    image: dict[str, Any]


def write_coco(root: Path, split: str, count: int, edge: int, seed: int) -> dict[str, int]:
    """Write train2017|val2017/*.jpg and annotations/instances_*.json."""
    instances = Instances()
    for drawn in draw_coco(root, split, count, edge, seed):
        instances.add(drawn)
    return instances.write(root, split)


def draw_coco(root: Path, split: str, count: int, edge: int, seed: int, layout: str = "coco") -> Iterator[Drawn]:
    """Draw and write the images of a split, and yield each."""
    for index in range(count):
        random = image_random(seed, layout, split, index)
        scene = compose_objects(edge, random, crowds=True, empty_share=0.04)
        image_id = 1_000_000 * (split == "val") + 7 * index + int(random.randint(7)) + 1
        file_name = f"{image_id:012d}.jpg"
        _save(scene, root / f"{split}2017" / file_name)
        height, width = scene.size
        yield Drawn(scene, {"license": 1, "file_name": file_name, "height": height, "width": width, "id": image_id})


class Instances:
    """The shapes of all images, collected for annotations/instances_*.json."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, drawn: Drawn) -> None:
        """Add the shapes of one image."""
        self.images.append(drawn.image)
        for instance in drawn.scene.instances:
            self.annotations.append(_coco_annotation(instance, drawn.image["id"], len(self.annotations) + 1))

    def write(self, root: Path, split: str) -> dict[str, int]:
        """Write the file and count images, objects and crowds."""
        content = {
            "info": {"description": "visionattn shapes", "version": "1", "year": 2026},
            "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
            "images": self.images,
            "annotations": self.annotations,
            "categories": [
                {"supercategory": "shape", "id": category, "name": name}
                for category, name in zip(COCO_IDS, SHAPE_NAMES, strict=True)
            ],
        }
        path = root / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
        crowds = sum(annotation["iscrowd"] for annotation in self.annotations)
        empty = len(self.images) - len({annotation["image_id"] for annotation in self.annotations})
        return {"images": len(self.images), "objects": len(self.annotations), "crowds": crowds, "empty_images": empty}


def _coco_annotation(instance: Instance, image_id: int, number: int) -> dict[str, Any]:
    segmentation = mask_to_rle(instance.mask) if instance.crowd else mask_to_polygons(instance.mask)
    return {
        "segmentation": segmentation,
        "area": float(instance.mask.sum()),
        "iscrowd": int(instance.crowd),
        "image_id": image_id,
        "bbox": [float(value) for value in mask_to_box(instance.mask)],
        "category_id": COCO_IDS[instance.label],
        "id": number,
    }


def write_ade20k(root: Path, split: str, count: int, edge: int, seed: int) -> dict[str, int]:
    """Write ADEChallengeData2016/images and annotations, sceneCategories.txt and objectInfo150.txt."""
    base = root / "ADEChallengeData2016"
    folder = {"train": "training", "val": "validation"}[split]
    pixels = np.zeros(len(ADE20K_CLASSES) + 1, dtype=np.int64)
    seen = np.zeros_like(pixels)
    lines = []
    objects = 0
    for index in range(count):
        scene = compose_objects(edge, image_random(seed, "ade20k", split, index), crowds=True, empty_share=0.04)
        name = f"ADE_{split}_{index + 1:08d}"
        _save(scene, base / "images" / folder / f"{name}.jpg")
        classes = class_map(scene)
        path = base / "annotations" / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(classes).save(path, optimize=False)
        counted = np.bincount(classes.reshape(-1), minlength=len(pixels))
        pixels += counted
        seen += counted > 0
        objects += len(scene.instances)
        lines.append(f"{name} shapes\n")
    _write_ade20k_lists(base, split, lines, pixels, seen)
    return {"images": count, "objects": objects}


def class_map(scene: Scene) -> np.ndarray:
    """Classes, uint8 ``(H, W)``: 0 other, then shapes, then textures of the background."""
    classes = scene.ground + 1 + len(SHAPE_NAMES)
    for instance in scene.instances:
        classes[instance.mask] = 0 if instance.crowd else instance.label + 1
    return classes.astype(np.uint8)


def _write_ade20k_lists(base: Path, split: str, lines: list[str], pixels: np.ndarray, seen: np.ndarray) -> None:
    """Write the two text files; the second split adds its counts to those of the first."""
    scenes, info, counts = base / "sceneCategories.txt", base / "objectInfo150.txt", seen[1:]
    if split == "train":
        scenes.write_text("".join(lines), encoding="utf-8")
        train, val, share = counts, np.zeros_like(counts), pixels[1:] / pixels.sum()
    else:
        scenes.write_text(scenes.read_text(encoding="utf-8") + "".join(lines), encoding="utf-8")
        rows = [row.split("\t") for row in info.read_text(encoding="utf-8").splitlines()[1:]]
        train, val, share = np.array([int(r[2]) for r in rows]), counts, np.array([float(r[1]) for r in rows])
    table = [f"{k + 1}\t{share[k]:.4f}\t{train[k]}\t{val[k]}\t{name}\n" for k, name in enumerate(ADE20K_CLASSES)]
    info.write_text("Idx\tRatio\tTrain\tVal\tName\n" + "".join(table), encoding="utf-8")


def _save(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.rendered().save(path, "JPEG", quality=JPEG_QUALITY)
