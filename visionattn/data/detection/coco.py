"""Data sets in COCO's format: where their files lie, and what they tell before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from visionattn.data.detection.coco_file import read_categories
from visionattn.data.detection.json_file import read_json
from visionattn.data.detection.layouts import INSTANCES, Kind, Layout, find_layout, held_out, is_open, named
from visionattn.data.detection.sources import CocoRecords
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.detection.values import as_flag, as_text, as_whole
from visionattn.data.facts import AUTO, SAMPLED_HEADERS, DataFacts, header_size, typical_size
from visionattn.data.fixed_split import fixed_split
from visionattn.errors import DataError

IMAGES = {"train": "train2017", "val": "val2017"}
ANNOTATIONS = {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"}
Names = Mapping[str, str] | str
"""Split -> path below root; ``auto``: to be found."""


class CocoFiles:
    """Where the files of a data set in COCO's format lie: what the sources of objects and of segments share.

    Args:
        root: the folder.
        images: split -> folder below root.
        annotations: split -> file below root.
        val_fraction: share of the images of one file for train and val that is held out.
    """

    kind: Kind = INSTANCES
    splits: Sequence[str] = ("train", "val", "test")

    def __init__(self, root: str, images: Names, annotations: Names, val_fraction: float | str | None) -> None:
        self.root = Path(root).expanduser()
        self.images, self.annotations, self.val_fraction = images, annotations, val_fraction

    @cached_property
    def layout(self) -> Layout:
        """Where files and folders lie."""
        given = {"images": self.images, "annotations": self.annotations, "val_fraction": self.val_fraction}
        return found_layout(self.root, given, self.kind)

    def own_splits(self) -> list[str]:
        """Splits that have an annotation file."""
        return [split for split, name in self.layout.annotations.items() if (self.root / name).is_file()]


class Coco(CocoFiles):
    """Images with objects in COCO's format (Lin et al. 2014, arXiv 1405.0312).

    Category ids may be sparse: label k is the k-th id in rising order. What other tools write differently is mended
    (``records.annotations.repaired``: numbers as text, missing areas, ids of any kind). Boxes without width or height
    or outside their image are left out of training and counted by reason (``records.annotations.dropped``). An invalid
    mask leaves its box in place (``records.annotations.unmasked``). An image that is missing, damaged, or of another
    size than its annotations state is unreadable.

    Args:
        root: the folder.
        images: split -> folder below root; ``auto``: where the images of the annotations are.
        annotations: split -> file below root; ``auto``: COCO's own layout, Roboflow's, or files by their names.
        masks: read masks too; ``auto``: where any object has one.
        empty_images: train on images without objects too; evaluation always has them.
        val_fraction: where train and val are one file, the share of its images that is held out for val, by their
            names; null: both have all of them; ``auto``: 0.2 where there is one file only.

    Raises:
        DataError: (on reading) a folder or the annotation file is missing, or the file is another one.
    """

    def __init__(
        self,
        root: str,
        images: Names = IMAGES,
        annotations: Names = ANNOTATIONS,
        masks: bool | str = AUTO,
        empty_images: bool = True,
        val_fraction: float | str | None = None,
    ) -> None:
        super().__init__(root, images, annotations, val_fraction)
        self.masks, self.empty_images = masks, empty_images

    def open(self, split: str) -> CocoRecords:
        """Read one split; test is val where no test split is named."""
        layout = self.layout
        split = named_split(split, layout)
        folder, file = self.root / layout.images[split], self.root / layout.annotations[split]
        require(self.root, {"the images": folder}, {"the annotations": file})
        empty = self.empty_images or split != "train"
        return CocoRecords(folder, file, self.masks, empty, part=part_of(layout, split))

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about a data set; see :class:`visionattn.data.facts.Inspectable`."""
        facts, contents = inspect_coco(root, options, INSTANCES)
        objects = [
            one for one in contents[0]["annotations"] if isinstance(one, dict) and not as_flag(one.get("iscrowd"))
        ]
        seen = MaskedShare(sum(bool(one.get("segmentation")) for one in objects), len(objects))
        told = seen.told() if options.get("masks", AUTO) == AUTO else ()
        return replace(facts, options={**facts.options, "masks": seen.most}, notes=(*facts.notes, *told))


def found_layout(root: Path, given: Mapping[str, Any], kind: Kind) -> Layout:
    """The layout: as given where all paths are, else found in the folder."""
    if is_open(given["images"]) or is_open(given["annotations"]):
        return find_layout(root, given, kind)
    annotations = named(given["annotations"])
    share = held_out(annotations, given["val_fraction"], given)
    return Layout(annotations, named(given["images"], annotations), "", share)


def named_split(split: str, layout: Layout) -> str:
    """The split to read: ``val`` for a ``test`` that is not named.

    Raises:
        DataError: there is no such split, or its images are not named.
    """
    if split == "test" and split not in layout.annotations:
        split = "val"
    if split not in layout.annotations:
        raise DataError(f"there is no split {split!r}; data.source.annotations has {', '.join(layout.annotations)}")
    if split not in layout.images:
        raise DataError(f"the folder of the {split} images is not known: set data.source.images.{split}")
    return split


def require(root: Path, folders: Mapping[str, Path], files: Mapping[str, Path]) -> None:
    """Make sure that folders and files are there.

    Raises:
        DataError: one is not; the message has all of them, and what the root holds.
    """
    if all(folder.is_dir() for folder in folders.values()) and all(file.is_file() for file in files.values()):
        return
    names = sorted(path.name for path in root.iterdir())[:12] if root.is_dir() else []
    *most, last = [f"{what} {path}" for what, path in {**folders, **files}.items()]
    raise DataError(f"expected {', '.join(most)} and {last}; {root} holds {', '.join(names) or 'nothing'}")


def part_of(layout: Layout, split: str) -> partial[dict[str, Any]] | None:
    """What takes a split's images from a file that has all of them; None: the split has a file of its own."""
    if layout.val_fraction is None or split not in ("train", "val"):
        return None
    return partial(hold_out, share=layout.val_fraction, held=split == "val")


def hold_out(content: dict[str, Any], share: float, held: bool) -> dict[str, Any]:
    """The part of an annotation file whose images are held out, or the rest; an image's name alone decides."""
    images = [image for image in content["images"] if isinstance(image, dict)]
    names = [as_text(image.get("file_name")) or "" for image in images]
    different = list(dict.fromkeys(names))
    if len(different) == 1:
        raise DataError(
            f"the only annotation file lists one image, {different[0]}, and some are held out for validation: annotate "
            "more, or name the file of a second split as data.source.annotations.val"
        )
    side = dict(zip(different, fixed_split(different, share).tolist(), strict=True))
    chosen = [image for image, name in zip(images, names, strict=True) if side[name] == held]
    others = {str(image.get("id")) for image, name in zip(images, names, strict=True) if side[name] != held}
    notes = [a for a in content["annotations"] if not isinstance(a, dict) or str(a.get("image_id")) not in others]
    return content | {"images": chosen, "annotations": notes}


def inspect_coco(root: Path, options: Mapping[str, Any], kind: Kind) -> tuple[DataFacts, list[dict[str, Any]]]:
    """Facts about a data set in COCO's format, and the contents of its annotation files."""
    read = cache(read_json)  # the files of large data sets take seconds
    layout = find_layout(root, options, kind, read)
    contents = {split: read(root / name) for split, name in layout.annotations.items() if (root / name).is_file()}
    if "train" not in contents:
        name = layout.annotations.get("train")
        raise DataError(
            f"{root / name} is no file: set data.source.annotations.train"
            if name
            else "data.source.annotations has no train"
        )
    counts = {split: len(content["images"]) for split, content in contents.items()}
    if layout.val_fraction is not None:
        parts = {split: hold_out(contents["train"], layout.val_fraction, split == "val") for split in ("train", "val")}
        counts |= {split: len(part["images"]) for split, part in parts.items()}
    names = tuple(one.name for one in read_categories(contents["train"], root / layout.annotations["train"]))
    filled = {"images": layout.images, "annotations": layout.annotations, "val_fraction": layout.val_fraction}
    size = _typical(contents["train"]["images"], root / layout.images.get("train", "."))
    found = is_open(options.get("images", AUTO)) or is_open(options.get("annotations", AUTO))
    notes = (layout.note,) if found else ()
    return DataFacts(len(names), names, size, counts, filled, notes), list(contents.values())


def _typical(images: Sequence[Any], folder: Path) -> tuple[int, int] | None:
    """A typical size, as the file states it, else from image headers."""
    sizes: list[tuple[int, int]] = []
    for entry in images[:: max(1, len(images) // SAMPLED_HEADERS)]:
        if not isinstance(entry, dict):
            continue
        height, width = as_whole(entry.get("height")), as_whole(entry.get("width"))
        name = as_text(entry.get("file_name"))
        size = (height, width) if height and width else header_size(folder / name) if name else None
        sizes += [size] if size else []
    return typical_size(sizes)
