"""COCO's panoptic layout: root/train2017, root/panoptic_train2017, root/annotations/panoptic_*.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionattn.data.detection.annotations import evaluation_annotations
from visionattn.data.detection.coco_file import read_coco
from visionattn.data.detection.json_file import read_json
from visionattn.data.detection.sources import ANNOTATIONS as INSTANCES
from visionattn.data.detection.sources import IMAGES, SizedImages, named_split
from visionattn.data.panoptic.annotations import PanopticAnnotations, read_annotations
from visionattn.data.panoptic.maps import decode_map, segment_ids
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

MAPS = {"train": "panoptic_train2017", "val": "panoptic_val2017"}
ANNOTATIONS = {"train": "annotations/panoptic_train2017.json", "val": "annotations/panoptic_val2017.json"}
Segments = dict[str, Tensor]
"""``ids`` int32 ``(H, W)``, 1 for the first segment, 0 for none; ``labels`` int64 ``(n,)``; ``crowd`` bool ``(n,)``."""


class PanopticRecords(SizedImages[PanopticAnnotations]):
    """One split of images with segments; see :class:`CocoPanoptic`. The segments lie in ``annotations``."""

    def __init__(self, folder: Path, maps: Path, file: Path, instances: Path, empty_images: bool) -> None:
        self.maps, self.file, self.instances = maps, file, instances
        super().__init__(folder, read_annotations(self.content(), file, empty_images, folder))
        self.things, self.labels = self.annotations.things, self.annotations.labels

    def content(self) -> dict[str, Any]:
        """All annotations of the split, read anew."""
        return read_json(self.file)

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

    def ground_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        """Contents of COCO's file of instances about some images, as its evaluation takes them.

        Raises:
            DataError: there is no such file, or it lacks some of the images or of the things.
        """
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


class CocoPanoptic:
    """Images with segments in COCO's panoptic layout (Kirillov et al. 2019, arXiv 1801.00868).

    Category ids may be sparse: label k is the k-th id in rising order. Images whose annotation cannot be right are left
    out and counted by reason (``records.annotations.dropped``). An image is unreadable where it or its map is missing,
    damaged, of another size than the annotations say, or where map and annotations disagree about the segments.

    Args:
        root: the folder.
        images: split -> folder below root.
        maps: split -> folder below root, or below that of the annotations, where the download unpacks it.
        annotations: split -> file below root.
        instances: split -> COCO's file of instances below root, for average precision.
        empty_images: train on images without segments too; evaluation always has them.

    Raises:
        DataError: (on reading) a folder or the annotation file is missing, or the file is of another kind.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(
        self,
        root: str,
        images: Mapping[str, str] = IMAGES,
        maps: Mapping[str, str] = MAPS,
        annotations: Mapping[str, str] = ANNOTATIONS,
        instances: Mapping[str, str] = INSTANCES,
        empty_images: bool = True,
    ) -> None:
        self.root = Path(root).expanduser()
        self.images, self.maps, self.annotations = dict(images), dict(maps), dict(annotations)
        self.instances, self.empty_images = dict(instances), empty_images

    def open(self, split: str) -> PanopticRecords:
        """Read one split; test is val where no test split is named."""
        split = named_split(split, self.annotations)
        folder, file = self.root / self.images[split], self.root / self.annotations[split]
        maps = self.root / self.maps[split]
        if not maps.is_dir() and (file.parent / maps.name).is_dir():
            maps = file.parent / maps.name
        if not folder.is_dir() or not maps.is_dir() or not file.is_file():
            names = sorted(path.name for path in self.root.iterdir())[:12] if self.root.is_dir() else []
            raise DataError(
                f"expected the images {folder}, the panoptic maps {maps} and the annotations {file}; {self.root} "
                f"holds {', '.join(names) or 'nothing'}"
            )
        instances = self.root / self.instances[split]
        return PanopticRecords(folder, maps, file, instances, self.empty_images or split != "train")
