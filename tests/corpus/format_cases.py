"""Damaged trees of Pascal VOC's XML files, tables of labels, and instance masks as PNG."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.corpus.cases import Case

CASES: list[Case] = []


def tree(
    kind: str, code: int = 0, says: str = "", **options: Any
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Add a case that changes the folder of a kind."""

    def add(change: Callable[[Path], None]) -> Callable[[Path], None]:
        CASES.append(Case(change.__name__, kind, change, code=code, says=says, **options))
        return change

    return add


def texts(root: Path, change: Callable[[str], str], pattern: str = "Annotations/*.xml") -> None:
    """Change the text of every file of a pattern."""
    for path in root.glob(pattern):
        path.write_text(change(path.read_text()))


@tree("voc", says="layout: Pascal VOC")
def voc_healthy(root: Path) -> None:
    """Nothing is changed."""


@tree("voc", says="first_pixel")
def boxes_that_start_at_0(root: Path) -> None:
    box = "<xmin>0</xmin><ymin>1</ymin><xmax>20</xmax><ymax>6</ymax>"
    one = f"<object><name>cat</name><difficult>1</difficult><bndbox>{box}</bndbox></object></annotation>"
    texts(root, lambda text: text.replace("</annotation>", one))


@tree("voc", says="(?i)difficult")
def difficult_objects(root: Path) -> None:
    texts(root, lambda text: text.replace("<difficult>0</difficult>", "<difficult>1</difficult>", 1))


@tree("voc")
def roboflow_folders(root: Path) -> None:
    for path in sorted((root / "JPEGImages").iterdir()):
        folder = root / ("train" if path.stem.startswith("train") else "valid")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
        (root / "Annotations" / f"{path.stem}.xml").rename(folder / f"{path.stem}.xml")
    for name in ("JPEGImages", "Annotations", "ImageSets"):
        shutil.rmtree(root / name)


@tree("voc")
def sizes_absent(root: Path) -> None:
    texts(root, lambda text: re.sub(r"<size>.*</size>", "", text))


@tree("voc", 1, "(?i)val_000.*class")
def class_that_only_val_has(root: Path) -> None:
    texts(root, lambda text: text.replace("<name>cat</name>", "<name>cow</name>"), "Annotations/val_000.xml")


@tree("voc", 1, r"not valid XML|cannot be read")
def xml_broken_everywhere(root: Path) -> None:
    texts(root, lambda text: text[:60])


@tree("voc", 1, "document type")
def xml_with_entities(root: Path) -> None:
    texts(root, lambda text: '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hosts">]>' + text)


@tree("voc", 1, r"train_000\.xml")
def annotation_missing(root: Path) -> None:
    (root / "Annotations/train_000.xml").unlink()


@tree("voc", 1, r"val\.txt")
def list_missing(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").unlink()


@tree("voc", 1, "(?i)four numbers")
def boxes_of_text(root: Path) -> None:
    texts(root, lambda text: re.sub(r"<xmin>\d+</xmin>", "<xmin>left</xmin>", text))


@tree("csv")
def csv_healthy(root: Path) -> None:
    """Nothing is changed."""


@tree("csv")
def semicolons_and_a_byte_order_mark(root: Path) -> None:
    texts(root, lambda text: "\ufeff" + text.replace(",", ";"), "*.csv")


@tree("csv")
def no_line_of_names(root: Path) -> None:
    texts(root, lambda text: text.partition("\n")[2], "*.csv")


@tree("csv", says="held out", words=("data.source.tables=train.csv",))
def one_table(root: Path) -> None:
    texts(root, lambda text: text + (root / "val.csv").read_text().partition("\n")[2], "train.csv")
    (root / "val.csv").unlink()


@tree("csv", 1, r"val\.csv.*wasp")
def label_that_only_val_has(root: Path) -> None:
    texts(root, lambda text: text.replace(",bee", ",wasp"), "val.csv")


@tree("csv", 1, r"train\.csv line 3")
def label_empty(root: Path) -> None:
    texts(root, lambda text: text.replace("bee_train_0.png,bee", "bee_train_0.png,"), "train.csv")


@tree("csv", 1, "data.source.images")
def images_elsewhere(root: Path) -> None:
    (root / "images").rename(root / "photos")


@tree("csv", 1, "data.source.label_column")
def columns_of_other_names(root: Path) -> None:
    texts(root, lambda text: text.replace("file,label", "file,insect"), "*.csv")


@tree("csv", 1, "UTF-8")
def utf_16(root: Path) -> None:
    for path in root.glob("*.csv"):
        path.write_bytes(path.read_text().encode("utf-16"))


@tree("instance_masks", says="layout: instance masks")
def masks_healthy(root: Path) -> None:
    """Nothing is changed."""


@tree("instance_masks", words=("data.source.divisor=10",))
def masks_of_8_bits(root: Path) -> None:
    for path in root.glob("*/masks/*.png"):
        numbers = np.asarray(Image.open(path)) // 1000
        Image.fromarray((numbers * 10 + 1 * (numbers > 0)).astype(np.uint8)).save(path)


PLACE = "data.source.masks='{split}/masks/{class}/{image}'"


@tree("instance_masks", words=(PLACE, "data.source.classes=one", "data.source.class_names=null"))
def a_file_per_object_in_folders_of_classes(root: Path) -> None:
    for path in sorted(root.glob("*/masks/*.png")):
        numbers = np.asarray(Image.open(path)) // 1000
        for number, name in ((3, "cat"), (7, "dog")):
            folder = path.parent / name
            folder.mkdir(exist_ok=True)
            Image.fromarray((numbers == number).astype(np.uint8) * 255).save(folder / f"{path.stem}_0.png")
        path.unlink()


@tree("instance_masks", 1, r"(?i)mask")
def masks_missing(root: Path) -> None:
    for path in root.glob("*/masks"):
        shutil.rmtree(path)


@tree("instance_masks", 1, "(?i)mask")
def masks_in_color(root: Path) -> None:
    for path in root.glob("*/masks/*.png"):
        Image.open(path.parent.parent / "images" / f"{path.stem}.jpg").save(path)


@tree("instance_masks", 1, "another size")
def masks_of_another_size(root: Path) -> None:
    for path in root.glob("*/masks/*.png"):
        Image.open(path).resize((32, 24), Image.Resampling.NEAREST).save(path)


@tree("instance_masks", 1, "class_names", words=("data.source.class_names=null",))
def class_names_absent(root: Path) -> None:
    """Numbers alone do not say what they stand for."""
