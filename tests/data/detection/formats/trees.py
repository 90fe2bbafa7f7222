"""Small trees in the layouts of real data sets, for the tests of this folder."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from visionattn.data.detection import DetectionData, DetectionEvalTransform, DetectionTrainTransform

SIZES = ((40, 60), (50, 50), (64, 48))
"""(height, width) of the images of every split."""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def picture(path: Path, size: tuple[int, int] = SIZES[0], orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(size, orientation))
    return path


def picture_bytes(size: tuple[int, int], orientation: int = 1) -> bytes:
    image = Image.fromarray(np.full((*size, 3), 90, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def module(source, num_classes: int) -> DetectionData:
    return DetectionData(
        source,
        num_classes,
        image_size=64,
        batch_size=2,
        train_transform=lambda **kw: DetectionTrainTransform(**kw, short_edges=[32], long_edge=64),
        eval_transform=lambda **kw: DetectionEvalTransform(**kw, short_edge=32, long_edge=64),
    )


def objects(records, index: int) -> list[tuple[str, list[float]]]:
    """(class name, x1 y1 x2 y2) of every object of an image."""
    target = records.objects(index)
    names = [records.class_names[label] for label in target["labels"].tolist()]
    return list(zip(names, target["boxes"].tolist(), strict=True))


def yolo(root: Path, names: str = "names: [car, dog]", train: str = "images/train") -> Path:
    """Two splits of three images; the last image of each has no label file."""
    for split in ("train", "val"):
        for number, size in enumerate(SIZES):
            picture(root / "images" / split / f"{number}.jpg", size)
        write(root / "labels" / split / "0.txt", "1 0.5 0.5 0.5 0.25\n0 0.25 0.25 0.1 0.1\n")
        write(root / "labels" / split / "1.txt", "")
    write(root / "data.yaml", f"train: {train}\nval: images/val\n{names}\n")
    return root


def voc_xml(size, objects, name: str = "x.jpg") -> str:
    """An annotation file; objects are (class, xmin, ymin, xmax, ymax, further elements)."""
    rows = "".join(
        f"<object><name>{cls}</name>{more}<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        f"</bndbox></object>"
        for cls, a, b, c, d, more in objects
    )
    height, width = size
    return (
        f"<annotation><filename>{name}</filename><size><width>{width}</width><height>{height}</height>"
        f"<depth>3</depth></size>{rows}</annotation>"
    )


VOC_OBJECTS = [("dog", 11, 6, 30, 15, ""), ("car", 1, 1, 60, 40, "<difficult>1</difficult>")]


def voc(root: Path) -> Path:
    """VOC's own layout: two training images and one for validation."""
    for stem, size, found in (
        ("a", SIZES[0], VOC_OBJECTS),
        ("b", SIZES[1], [("car", 2, 3, 10, 20, "")]),
        ("c", SIZES[2], [("dog", 1, 1, 48, 64, "")]),
    ):
        picture(root / "JPEGImages" / f"{stem}.jpg", size)
        write(root / "Annotations" / f"{stem}.xml", voc_xml(size, found, f"{stem}.jpg"))
    write(root / "ImageSets" / "Main" / "train.txt", "a\nb\n")
    write(root / "ImageSets" / "Main" / "val.txt", "c\n")
    return root
