"""What is converted: the images and objects of the splits of a data set, and what the new format cannot hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionattn.data.detection.formats.sizes import header_of
from visionattn.data.detection.sources import CocoRecords
from visionattn.errors import DataError

TURNED = (
    "images annotated as they are stored, not as their EXIF orientation shows them (tools differ in which they read)"
)
RESIZED = "images of another size than their annotations state (kept as they are)"


@dataclass(frozen=True)
class Picture:
    """An image with its objects.

    Attributes:
        file: where it lies.
        name: path below the folder of its split, with forward slashes.
        height: in pixels.
        width: in pixels.
        objects: annotations in COCO's form.
    """

    file: Path
    name: str
    height: int
    width: int
    objects: list[dict[str, Any]]


@dataclass
class Conversion:
    """A data set on its way.

    Attributes:
        names: of the classes, in the order of their labels.
        ids: the data set's own number of each class.
        splits: split -> its images.
        losses: what the new format does not hold, or holds in another way -> how often.
    """

    names: list[str]
    ids: list[int]
    splits: dict[str, list[Picture]]
    losses: Counter[str] = field(default_factory=Counter)

    @property
    def labels(self) -> dict[Any, int]:
        """The data set's number of a class -> label."""
        return {number: label for label, number in enumerate(self.ids)}

    def counts(self) -> dict[str, int]:
        """Images and objects of each split."""
        counts: dict[str, int] = {}
        for split, pictures in self.splits.items():
            counts |= {f"{split}: images": len(pictures), f"{split}: objects": sum(len(p.objects) for p in pictures)}
        return counts


def read_conversion(splits: dict[str, CocoRecords]) -> Conversion:
    """What is converted.

    Raises:
        DataError: the splits have different classes, or an image's name leaves its folder.
    """
    first = next(iter(splits.values()))
    for split, records in splits.items():
        if (records.class_names, records.category_ids) != (first.class_names, first.category_ids):
            raise DataError(
                f"the classes of {split} differ from those of {next(iter(splits))}; convert them one by one"
            )
    made = Conversion(list(first.class_names), list(first.category_ids), {})
    for split, records in splits.items():
        made.splits[split] = _pictures(records, made.losses)
        for reason, count in records.annotations.dropped.counts.items():
            made.losses[f"{reason} (left out)"] += count
    return made


def _pictures(records: CocoRecords, losses: Counter[str]) -> list[Picture]:
    numbers = records.annotations.image_ids.tolist()
    of_image: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    for annotation in records.ground_truth(numbers, records.masks)["annotations"]:
        of_image[annotation["image_id"]].append({"segmentation": None} | annotation)
    pictures = []
    for index, number in enumerate(numbers):
        name = records.ids[index]
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{records.file}: the image name {name} leads out of {records.folder}; correct it")
        file, (height, width) = records.image_path(index), records.size(index)
        shown = header_of(file)
        if shown is None:
            raise DataError(
                f"the image {file} is missing or cannot be read; `visionattn data doctor` lists all of them"
            )
        losses[TURNED] += shown == (width, height) != (height, width)
        losses[RESIZED] += shown not in ((width, height), (height, width))
        pictures.append(Picture(file, name, height, width, of_image[number]))
    return pictures
