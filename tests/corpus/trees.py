"""Small healthy trees in the published layouts; the cases of the corpus each damage a copy of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
CATS = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
COLORS = {3: (220, 60, 40), 7: (40, 90, 220)}
SPLITS = {"train": 3, "val": 2}


def scene(index: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """The objects of an image: (category, (left, top, width, height)); they do not overlap."""
    return [(3, (4 + index, 6, 20, 18)), (7, (34, 20 + index, 22, 16))]


def draw(index: int, mark: int = 0) -> Image.Image:
    """The image of a scene; with another mark it is another file."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    pixels[-8:, -8:] += 8 * mark
    pixels[::4] += 20
    for category, (left, top, width, height) in scene(index):
        pixels[top : top + height, left : left + width] = COLORS[category]
    return Image.fromarray(pixels)


def save(image: Image.Image, path: Path, **options: Any) -> None:
    """Write an image, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def coco_json(split: str) -> dict[str, Any]:
    """Images, polygons and categories of a split."""
    images, annotations = [], []
    for index in range(SPLITS[split]):
        number = 10 * index + 5
        images.append({"id": number, "file_name": f"{index:03d}.jpg", "height": HEIGHT, "width": WIDTH})
        for category, (left, top, width, height) in scene(index):
            right, bottom = left + width, top + height
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    return {"images": images, "annotations": annotations, "categories": [dict(one) for one in CATS]}


def coco(root: Path) -> None:
    """COCO's layout."""
    for split, count in SPLITS.items():
        for index in range(count):
            save(draw(index, len(split)), root / f"{split}2017" / f"{index:03d}.jpg", quality=95)
        write_json(root / f"annotations/instances_{split}2017.json", coco_json(split))


def yolo(root: Path) -> None:
    """YOLO's layout: images, labels, data.yaml."""
    for split, count in SPLITS.items():
        for index in range(count):
            save(draw(index), root / "images" / split / f"{index:03d}.jpg", quality=95)
            lines = []
            for category, (x, y, w, h) in scene(index):
                box = ((x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT)
                lines.append(" ".join([str(int(category == 7)), *(f"{value:.8f}" for value in box)]))
            path = root / "labels" / split / f"{index:03d}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")


def panoptic_json(split: str) -> dict[str, Any]:
    """Images, segments and categories of a split; the map's file has the image's name."""
    content = coco_json(split)
    annotations = []
    for index, image in enumerate(content["images"]):
        segments = [
            {"id": number + 1, "category_id": category, "area": w * h, "bbox": [x, y, w, h], "iscrowd": 0}
            for number, (category, (x, y, w, h)) in enumerate(scene(index))
        ]
        covered = sum(segment["area"] for segment in segments)
        rest = {"id": 9, "category_id": 9, "area": WIDTH * HEIGHT - covered, "bbox": [0, 0, WIDTH, HEIGHT]}
        segments.append({**rest, "iscrowd": 0})
        annotations.append({"image_id": image["id"], "file_name": f"{index:03d}.png", "segments_info": segments})
    categories = [{**one, "isthing": 1} for one in CATS] + [{"id": 9, "name": "grass", "isthing": 0}]
    return {"images": content["images"], "annotations": annotations, "categories": categories}


def segment_map(index: int) -> np.ndarray:
    """Segment ids, uint8 (H, W)."""
    ids = np.full((HEIGHT, WIDTH), 9, np.uint8)
    for number, (_, (x, y, w, h)) in enumerate(scene(index)):
        ids[y : y + h, x : x + w] = number + 1
    return ids


def panoptic(root: Path) -> None:
    """COCO's panoptic layout."""
    coco(root)
    for split, count in SPLITS.items():
        for index in range(count):
            ids = segment_map(index)
            save(Image.fromarray(np.stack([ids, ids * 0, ids * 0], -1)), root / f"panoptic_{split}2017/{index:03d}.png")
        write_json(root / f"annotations/panoptic_{split}2017.json", panoptic_json(split))


def labels(index: int) -> np.ndarray:
    """A semantic mask: 0 background, 1 cat, 2 dog."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for category, (x, y, w, h) in scene(index):
        mask[y : y + h, x : x + w] = 1 if category == 3 else 2
    return mask


def image_mask(root: Path) -> None:
    """Images and masks of one's own."""
    for split, count in SPLITS.items():
        for index in range(count):
            save(draw(index, len(split)), root / split / "images" / f"{index:03d}.jpg", quality=95)
            save(Image.fromarray(labels(index)), root / split / "masks" / f"{index:03d}.png")


def ade20k(root: Path) -> None:
    """ADE20K's layout: 0 is not scored, classes count from 1."""
    for split, folder in (("train", "training"), ("val", "validation")):
        for index in range(SPLITS[split]):
            save(draw(index, len(split)), root / "images" / folder / f"{index:03d}.jpg", quality=95)
            save(Image.fromarray(labels(index)), root / "annotations" / folder / f"{index:03d}.png")


def image_folder(root: Path) -> None:
    """ImageNet's layout with two classes."""
    for split, count in SPLITS.items():
        for label, color in (("ant", (200, 40, 40)), ("bee", (40, 40, 200))):
            for index in range(count):
                image = Image.new("RGB", (40, 32), tuple(part + 9 * index + 3 * len(split) for part in color))
                save(image, root / split / label / f"{index}.jpg")


def nothing(root: Path) -> None:
    """An empty folder."""
    root.mkdir(parents=True, exist_ok=True)


def voc(root: Path) -> None:
    """Pascal VOC's layout."""
    names = {one["id"]: one["name"] for one in CATS}
    for split, count in SPLITS.items():
        stems = []
        for index in range(count):
            stems.append(f"{split}_{index:03d}")
            save(draw(index), root / "JPEGImages" / f"{stems[-1]}.jpg", quality=95)
            objects = "".join(
                f"<object><name>{names[category]}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin>"
                f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
                for category, (x, y, w, h) in scene(index)
            )
            size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
            text = f"<annotation><filename>{stems[-1]}.jpg</filename>{size}{objects}</annotation>"
            write_text(root / "Annotations" / f"{stems[-1]}.xml", text)
        write_text(root / "ImageSets/Main" / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))


def labelme(root: Path) -> None:
    """labelme's files beside the images of two splits: a polygon and a rectangle in each."""
    names = {one["id"]: one["name"] for one in CATS}
    for split, count in SPLITS.items():
        for index in range(count):
            save(draw(index), root / split / f"{split}_{index:03d}.jpg", quality=95)
            shapes = []
            for number, (category, (x, y, w, h)) in enumerate(scene(index)):
                corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
                kind, points = ("rectangle", corners[::2]) if number % 2 else ("polygon", corners)
                shapes.append({"label": names[category], "points": points, "shape_type": kind, "group_id": None})
            stated = {"imagePath": f"{split}_{index:03d}.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
            write_json(root / split / f"{split}_{index:03d}.json", {"version": "5.5.0", "shapes": shapes, **stated})


def csv(root: Path) -> None:
    """Images of two colors, and a table of their labels for each split."""
    for split, count in (("train", 4), ("val", 2)):
        rows = ["file,label"]
        for index in range(count):
            for name, color in (("ant", (200, 40, 40)), ("bee", (40, 40, 200))):
                file = f"{name}_{split}_{index}.png"
                save(Image.new("RGB", (40, 32), color), root / "images" / file)
                rows.append(f"{file},{name}")
        write_text(root / f"{split}.csv", "\n".join(rows) + "\n")


def instance_masks(root: Path) -> None:
    """Images, and a PNG with the numbers of their objects: a thousand times the class, and a counter."""
    for split, count in SPLITS.items():
        for index in range(count):
            save(draw(index), root / split / "images" / f"{index:03d}.jpg", quality=95)
            numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
            for category, (x, y, w, h) in scene(index):
                numbers[y : y + h, x : x + w] = 1000 * category + 1
            save(Image.fromarray(numbers), root / split / "masks" / f"{index:03d}.png")


def write_text(path: Path, text: str) -> None:
    """Write text, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


TREES: dict[str, Callable[[Path], None]] = {
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
    "csv": csv,
    "instance_masks": instance_masks,
    "panoptic": panoptic,
    "image_mask": image_mask,
    "ade20k": ade20k,
    "image_folder": image_folder,
    "nothing": nothing,
}
