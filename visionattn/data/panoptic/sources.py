"""COCO's panoptic layout: root/train2017, root/panoptic_train2017, root/annotations/panoptic_*.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionattn.data.detection.annotations import evaluation_annotations
from visionattn.data.detection.coco import ANNOTATIONS as INSTANCES
from visionattn.data.detection.coco import (
    IMAGES,
    CocoFiles,
    Names,
    inspect_coco,
    named_split,
    part_of,
    require,
)
from visionattn.data.detection.coco_file import read_coco
from visionattn.data.detection.json_file import read_json
from visionattn.data.detection.layouts import PANOPTIC, SPLIT_WORDS, is_open, named
from visionattn.data.detection.sources import Part, SizedImages
from visionattn.data.detection.values import as_text
from visionattn.data.facts import DataFacts
from visionattn.data.panoptic.annotations import PanopticAnnotations, read_annotations
from visionattn.data.panoptic.maps import decode_map, segment_ids
from visionattn.data.panoptic.write import map_name
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

MAPS = {"train": "panoptic_train2017", "val": "panoptic_val2017"}
ANNOTATIONS = {"train": "annotations/panoptic_train2017.json", "val": "annotations/panoptic_val2017.json"}
Segments = dict[str, Tensor]
"""``ids`` int32 ``(H, W)``, 1 for the first segment, 0 for none; ``labels`` int64 ``(n,)``; ``crowd`` bool ``(n,)``."""


class PanopticRecords(SizedImages[PanopticAnnotations]):
    """One split of images with segments; see :class:`CocoPanoptic`. The segments lie in ``annotations``."""

    def __init__(
        self, folder: Path, maps: Path, file: Path, instances: Path, empty_images: bool, part: Part | None = None
    ) -> None:
        self.maps, self.file, self.instances, self._part = maps, file, instances, part
        super().__init__(folder, read_annotations(self.content(), file, empty_images, folder))
        self.things, self.labels = self.annotations.things, self.annotations.labels

    def content(self) -> dict[str, Any]:
        """All annotations of the split, read anew."""
        content = read_json(self.file)
        return content if self._part is None else self._part(content)

    def map_path(self, index: int) -> Path:
        """The panoptic map's file."""
        return self.maps / self.annotations.maps[index]

    def segments(self, index: int) -> Segments:
        """The segments of one image.

        Raises:
            UnreadableImage: the map is missing, damaged, of another size than the annotations say, or holds other
                segments than they list.
        """
        notes, size = self.annotations, self.size(index)
        rows = slice(int(notes.first[index]), int(notes.first[index + 1]))
        try:
            numbers = decode_map(self.map_path(index).read_bytes())
        except OSError as error:
            raise UnreadableImage(f"its panoptic map cannot be read: {error.strerror or error}") from None
        except UnreadableImage as error:
            raise UnreadableImage(f"its panoptic map cannot be read: {error}") from None
        if numbers.shape != size:
            raise UnreadableImage(
                f"its panoptic map is {numbers.shape[0]}x{numbers.shape[1]}, its annotations state {size[0]}x{size[1]}"
            )
        ids = segment_ids(numbers, notes.numbers[rows].tolist())
        return {
            "ids": torch.from_numpy(ids),
            "labels": torch.from_numpy(notes.labels[rows].copy()),
            "crowd": torch.from_numpy(notes.crowds[rows].copy()),
        }

    def _read_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        file, wanted = read_coco(read_json(self.instances), self.instances, self.folder), set(image_ids)
        notes = self.annotations
        stated = {n: own for n, own in zip(notes.image_ids.tolist(), notes.file_ids, strict=True) if n in wanted}
        images = {n: file.find_image(own) for n, own in stated.items()}
        lacking = sorted(number for number in wanted if images.get(number) is None)
        if lacking:
            example = stated.get(lacking[0], lacking[0])
            raise DataError(f"{self.instances} lacks {len(lacking)} of {len(wanted)} images, e.g. {example}")
        things = [number for number, thing in zip(self.category_ids, self.things, strict=True) if thing]
        labels = {number: file.find_category(number) for number in things}
        unknown = [number for number, label in labels.items() if label is None]
        if unknown:
            raise DataError(f"{self.instances} has no categories {unknown[:8]}, which are things of {self.file}")
        of_image = {index: number for number, index in images.items() if index is not None}
        of_label = {label: number for number, label in labels.items() if label is not None}
        return evaluation_annotations(file, of_image, of_label, masks)

    def fingerprint(self) -> str:
        """sha256 over names, sizes and segments, hexadecimal."""
        notes = self.annotations
        return self._digest(notes.first, notes.numbers, notes.labels, notes.crowds)


class CocoPanoptic(CocoFiles):
    """Images with segments in COCO's panoptic layout (Kirillov et al. 2019, arXiv 1801.00868).

    Category ids may be sparse: label k is the k-th id in rising order. Images whose annotation cannot be right are left
    out and counted by reason (``records.annotations.dropped``). An image is unreadable where it or its map is missing,
    damaged, of another size than the annotations say, or where map and annotations disagree about the segments.

    Args:
        root: the folder.
        images: split -> folder below root; ``auto``: where the images of the annotations are.
        maps: split -> folder below root, or below that of the annotations, where the download unpacks it; ``auto``:
            where the maps of the annotations are.
        annotations: split -> file below root; ``auto``: COCO's own layout, or files by their names.
        instances: split -> COCO's file of instances below root, for average precision; ``auto``: COCO's own name.
        empty_images: train on images without segments too; evaluation always has them.
        val_fraction: see :class:`visionattn.data.detection.Coco`.

    Raises:
        DataError: (on reading) a folder or the annotation file is missing, or the file is of another kind.
    """

    kind = PANOPTIC

    def __init__(
        self,
        root: str,
        images: Names = IMAGES,
        maps: Names = MAPS,
        annotations: Names = ANNOTATIONS,
        instances: Names = INSTANCES,
        empty_images: bool = True,
        val_fraction: float | str | None = None,
    ) -> None:
        super().__init__(root, images, annotations, val_fraction)
        self.maps, self.instances, self.empty_images = maps, instances, empty_images

    def open(self, split: str) -> PanopticRecords:
        """Read one split; test is val where no test split is named."""
        layout = self.layout
        split = named_split(split, layout)
        folder, file = self.root / layout.images[split], self.root / layout.annotations[split]
        maps = self._maps(split, file)
        require(self.root, {"the images": folder, "the panoptic maps": maps}, {"the annotations": file})
        instances = self.root / _named(INSTANCES | named(self.instances), split)
        empty = self.empty_images or split != "train"
        return PanopticRecords(folder, maps, file, instances, empty, part_of(layout, split))

    def _maps(self, split: str, file: Path) -> Path:
        if is_open(self.maps) and split not in named(self.maps):
            return map_folder(self.root, split, file)
        maps = self.root / _named(self.maps, split)
        return maps if maps.is_dir() or not (file.parent / maps.name).is_dir() else file.parent / maps.name

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about a data set; see :class:`visionattn.data.facts.Inspectable`."""
        facts, _ = inspect_coco(root, options, PANOPTIC)
        return facts


def _named(names: Names, split: str) -> str:
    """The name that a key of the source has for a split; one name alone is that of all."""
    if isinstance(names, str):
        return names
    if split not in names:
        raise DataError(f"data.source.maps and data.source.instances have no {split}, they have {', '.join(names)}")
    return names[split]


def map_folder(root: Path, split: str, file: Path) -> Path:
    """The folder of the maps that an annotation file names.

    Raises:
        DataError: there is none.
    """
    content = read_json(file)
    entries, images = ([e for e in content[key] if isinstance(e, dict)] for key in ("annotations", "images"))
    names = [name for entry in entries[:20] if (name := as_text(entry.get("file_name"))) is not None]
    if not names:  # a map is named as its image
        names = [map_name(name) for image in images[:20] if (name := as_text(image.get("file_name"))) is not None]
    words = [f"{split}2017", *SPLIT_WORDS.get(split, (split,))]
    usual = [file.stem, *(f"panoptic_{word}" for word in words), *(f"{word}_panoptic" for word in words)]
    usual += ["panoptic", "maps", *(f"panoptic/{word}" for word in words), *(f"maps/{word}" for word in words)]
    places = [base / name for base in (file.parent, root, root / "annotations") for name in usual]
    for place in chain(places, (file.parent,), sorted(path for path in root.glob("*") if path.is_dir())):
        if any((place / name).is_file() for name in names):
            return place
    if not names:
        return file.parent
    raise DataError(
        f"none of the panoptic maps that {file} names is in {root}, e.g. {names[0]}: set data.source.maps.{split}"
    )
