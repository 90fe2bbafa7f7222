"""Damaged trees in YOLO's layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.corpus.cases import Case, adding

CASES: list[Case] = []
tree = adding(CASES, "yolo")


def lines(root: Path, change: Callable[[str], str]) -> None:
    """Change every line of every label file."""
    for path in root.glob("labels/*/*.txt"):
        path.write_text("".join(change(line) + "\n" for line in path.read_text().splitlines()))


@tree()
def healthy(root: Path) -> None:
    """Nothing is changed."""


@tree()
def names_as_a_mapping(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")


@tree()
def paths_from_another_folder(root: Path) -> None:
    """Roboflow's exports name ../train/images although the folder lies beside the file."""
    text = f"path: {root}\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"
    (root / "data.yaml").write_text(text)


@tree()
def splits_as_lists_of_files(root: Path) -> None:
    for split in ("train", "val"):
        names = sorted(path.name for path in (root / "images" / split).iterdir())
        (root / f"{split}.txt").write_text("".join(f"./images/{split}/{name}\n" for name in names))
    (root / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat, dog]\n")


@tree()
def polygons(root: Path) -> None:
    def polygon(line: str) -> str:
        label, *numbers = line.split()
        x, y, w, h = map(float, numbers)
        corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
        return " ".join([label, *(f"{value:.6f}" for corner in corners for value in corner)])

    lines(root, polygon)


@tree()
def windows_line_ends_and_blank_lines(root: Path) -> None:
    for path in root.glob("labels/*/*.txt"):
        path.write_bytes(path.read_text().replace("\n", "\r\n\r\n").encode())


@tree(says="(?i)(label|image)")
def image_without_a_label_file(root: Path) -> None:
    (root / "labels/train/000.txt").unlink()


@tree(1, "(?i)class")
def class_outside_the_names(root: Path) -> None:
    lines(root, lambda line: "7" + line[1:])


@tree(1, "(?i)(box|number|0..1|pixel|range)")
def boxes_in_pixels(root: Path) -> None:
    def pixels(line: str) -> str:
        label, *numbers = line.split()
        return " ".join([label, *(str(round(float(value) * 60, 2)) for value in numbers)])

    lines(root, pixels)


@tree(1, "(?i)(000.txt|line)")
def lines_of_text(root: Path) -> None:
    lines(root, lambda line: "cat " + line)


@tree(1, "(?i)(data.yaml|names)")
def names_absent(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nval: images/val\n")


@tree(1, "data.yaml")
def yaml_broken(root: Path) -> None:
    (root / "data.yaml").write_text("train: [images\nval: x: y\n")


@tree(1, "(?i)label")
def labels_folder_missing(root: Path) -> None:
    shutil.rmtree(root / "labels")


@tree(1, "(?i)val")
def val_missing(root: Path) -> None:
    shutil.rmtree(root / "images/val")
