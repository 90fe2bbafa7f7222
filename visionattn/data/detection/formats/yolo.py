"""YOLO's text labels: one file per image, one line per object, in fractions of the image."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from visionattn.data.detection.formats.content import Content, Size, enclosing_box, read_text
from visionattn.data.detection.formats.sizes import shown_size
from visionattn.data.detection.formats.source import SAMPLED_LABELS, BoxSource
from visionattn.data.detection.formats.yolo_yaml import YoloLayout, read_layout
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.facts import AUTO
from visionattn.data.fixed_split import fixed_split
from visionattn.errors import DataError

_SLACK = 0.01
"""Fractions may leave 0 to 1 by this much, as rounding does."""


class Yolo(BoxSource):
    """Images with text labels (Ultralytics' layout): boxes ``class x y width height`` or polygons ``class x1 y1 ...``.

    ``data.yaml`` names the classes and the images of each split: a folder, a list of folders, or a text file with one
    image per line, relative to ``path`` or to the file. The labels of ``.../images/a.jpg`` lie in
    ``.../labels/a.txt``; an image without that file, or with an empty one, has no objects. Fractions refer to the image
    as it is shown, after its EXIF orientation. Wrong lines are left out and counted with file and line.

    Where no split is val, a fixed share of the training images, chosen by their names, is held out.

    Args:
        root: the folder, or the YAML file.
        class_names: of a data set without data.yaml and classes.txt.
        val_fraction: of the images that are held out where no split is val.
        masks: see :class:`BoxSource`.
        empty_images: see :class:`BoxSource`.

    Raises:
        DataError: (on reading) no such layout; a class index without a name.
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        masks: bool | str = AUTO,
        empty_images: bool = True,
    ) -> None:
        super().__init__(root, masks, empty_images)
        self.class_names = None if class_names is None else list(class_names)
        self.val_fraction = val_fraction

    @cached_property
    def layout(self) -> YoloLayout:
        """Classes and splits, read on first use."""
        return read_layout(self.root, self.class_names)

    def classes(self) -> list[str]:
        return self.layout.names

    def files(self, split: str) -> list[Path]:
        if split == "test" or self.layout.splits.get("val"):
            return self.layout.files(split)
        files = self.layout.files("train")
        names = [Path(os.path.relpath(path, self.layout.base)).as_posix() for path in files]
        held = fixed_split(names, self.val_fraction) == (split == "val")
        return [path for path, taken in zip(files, held, strict=True) if taken]

    def masked_share(self) -> MaskedShare:
        found = [path for path in map(label_path, self.files("train")) if path.is_file()]
        lines = [line for path in found[:SAMPLED_LABELS] for line in read_text(path).splitlines() if line.strip()]
        masked = 0 if self.layout.keypoints else sum(len(line.split()) > 6 for line in lines)
        return MaskedShare(masked, len(lines))

    def notes(self) -> list[str]:
        held = "" if self.layout.splits.get("val") else f"; {self.val_fraction:.0%} of the images, by name, are val"
        return [f"layout: YOLO's text labels, {self.layout.file}{held}", *self.layout.told]

    def has_names(self) -> bool:
        return self.layout.named

    def read(self, split: str) -> tuple[Path, Path, Content]:
        layout = self.layout
        where = layout.file
        files = self.files(split)
        if not files:
            raise DataError(
                f"{where} names no images for {split}, only for {', '.join(self.own_splits()) or 'no split'}; "
                f"write `{split}:` with a folder or a list of images"
            )
        content = Content(layout.names, layout.category_ids)
        folder = Path(os.path.commonpath([path.parent for path in files]))
        without = 0
        for path in files:
            size = shown_size(path)
            number = content.add_image(path.relative_to(folder).as_posix(), size)
            labels = label_path(path)
            if labels.is_file():
                _read_labels(labels, number, size, content, layout)
            else:
                without += 1
        if not any(path.is_file() for path in files):
            raise DataError(f"none of the {len(files)} images that {where} names for {split} is there, e.g. {files[0]}")
        if without == len(files):
            raise DataError(
                f"none of the {len(files)} {split} images has a label file, e.g. {label_path(files[0])} is missing"
            )
        if without:
            content.told.append(f"{without} of {len(files)} images have no label file and count as empty")
        return folder, where, content


def label_path(image: Path) -> Path:
    """The label file of an image: the last folder ``images`` of its path becomes ``labels``; else it lies beside."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    usual, beside = Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")
    return beside if not usual.is_file() and beside.is_file() else usual


def _read_labels(file: Path, image_id: int, size: Size, content: Content, layout: YoloLayout) -> None:
    seen: set[str] = set()
    for number, line in enumerate(read_text(file).splitlines(), 1):
        text = " ".join(line.split())
        if not text:
            continue
        where = f"{file} line {number}: {text[:60]}"
        if text in seen:
            content.dropped.add("lines that occur twice in a label file", where)
            continue
        seen.add(text)
        values = _numbers(text)
        what = _wrong(values, layout.keypoints)
        if what:
            content.dropped.add(what, where)
            continue
        label = int(values[0])
        if values[0] != label or not 0 <= label < len(layout.names):
            raise DataError(
                f"{file} line {number}: class {values[0]:g} has no name; {layout.file} names {len(layout.names)} "
                f"classes, 0 to {len(layout.names) - 1}"
            )
        _add(content, image_id, label, values[1:5] if layout.keypoints else values[1:], size)


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []


def _wrong(values: list[float], keypoints: bool) -> str:
    """What is wrong with the numbers of a line, in a few words; empty if nothing is."""
    if not values or not all(map(math.isfinite, values)):
        return "label lines that are not numbers"
    if len(values) < 5:
        return "label lines of less than five numbers"
    if not keypoints and len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        return "label lines that are neither a box (5 numbers) nor a polygon (7, 9, 11, ... numbers)"
    fractions = values[1:5] if keypoints else values[1:]
    if min(fractions) < -_SLACK or max(fractions) > 1 + _SLACK:
        return "label lines whose coordinates are not fractions of the image (0 to 1)"
    if (keypoints or len(values) == 5) and (values[3] <= 0 or values[4] <= 0):
        return "label lines with a box without width or height"
    return ""


def _add(content: Content, image_id: int, label: int, values: list[float], size: Size) -> None:
    height, width = size
    if len(values) == 4:
        x, y, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
        content.add_object(image_id, label, [x - w / 2, y - h / 2, w, h])
        return
    polygon = [value * (height if i % 2 else width) for i, value in enumerate(values)]
    content.add_object(image_id, label, enclosing_box([polygon]), [polygon])
