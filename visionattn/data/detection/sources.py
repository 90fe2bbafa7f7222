"""COCO's layout: root/train2017, root/val2017, root/annotations/instances_*.json."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from visionattn.data.decode import as_tensor
from visionattn.data.decoding import Decoding
from visionattn.data.detection.annotations import Annotations, Dropped, read_annotations, read_json
from visionattn.data.detection.masks import Segmentation, draw, problem
from visionattn.data.orientation import size_of
from visionattn.data.records import PackedStrings
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

IMAGES = {"train": "train2017", "val": "val2017"}
ANNOTATIONS = {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"}


class ImageList(Protocol):
    """What the annotations of COCO's layouts say about images and categories.

    Attributes:
        names: file names.
        image_ids: int64 ``(I,)``.
        sizes: int64 ``(I, 2)``, (height, width).
        category_ids: the file's number of label 0, 1, ...
        class_names: names of label 0, 1, ...
        dropped: what was left out.
    """

    names: PackedStrings
    image_ids: np.ndarray
    sizes: np.ndarray
    category_ids: list[int]
    class_names: list[str]
    dropped: Dropped


A = TypeVar("A", bound=ImageList)


class SizedImages(ABC, Generic[A]):
    """Images by index, whose annotations state names and sizes.

    Args:
        folder: of the images.
        annotations: of the split.

    Attributes:
        told: sentences about what the reader took for granted.
    """

    told: Sequence[str] = ()
    decoding: Decoding = Decoding()

    def __init__(self, folder: Path, annotations: A) -> None:
        self.folder, self.annotations, self.ids = folder, annotations, annotations.names
        self.class_names, self.category_ids = annotations.class_names, annotations.category_ids

    def image_path(self, index: int) -> Path:
        """The image's file."""
        return self.folder / self.ids[index]

    def image_bytes(self, index: int) -> bytes:
        """The content of the image's file.

        Raises:
            UnreadableImage: there is none.
        """
        try:
            return self.image_path(index).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{error.strerror or error}") from None

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) as the annotations say."""
        height, width = self.annotations.sizes[index].tolist()
        return height, width

    def image(self, index: int) -> Tensor:
        """uint8 ``(C, H, W)``.

        Raises:
            UnreadableImage: missing, damaged, or of another size than the annotations say.
        """
        data, (height, width) = self.image_bytes(index), self.size(index)
        image = as_tensor(self.decoding(data, (height, width)))
        own = size_of(image)
        if own != (height, width):
            cause = self.decoding.why_other_size(data, own, (height, width))
            raise UnreadableImage(f"the image is {own[0]}x{own[1]}, its annotations state {height}x{width}{cause}")
        return image

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 over names, sizes and annotations, hexadecimal."""

    def _digest(self, *arrays: np.ndarray) -> str:
        digest = hashlib.sha256()
        for name in self.ids:
            digest.update(f"{name}\n".encode())
        for array in (self.annotations.sizes, *arrays):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


class CocoRecords(SizedImages[Annotations]):
    """One split of images with objects; see :class:`Coco`. The objects lie in ``annotations``.

    Args:
        folder: of the images.
        file: of the annotations; with ``content``, where that comes from.
        masks: read masks.
        empty_images: keep images without any object.
        content: annotations of another format, in COCO's form; None: those of ``file``.

    Attributes:
        unread: what the reader of another format left out.
    """

    def __init__(
        self, folder: Path, file: Path, masks: bool, empty_images: bool, content: dict[str, Any] | None = None
    ) -> None:
        # text, not objects: reading an object writes its reference count, and every worker would copy all of them
        self._text = None if content is None else json.dumps(content).encode()
        self.file, self.masks = file, masks
        super().__init__(folder, read_annotations(self.content(), file, masks, empty_images))
        self.labels = self.annotations.labels
        self.unread = Dropped()

    def content(self) -> dict[str, Any]:
        """All annotations of the split in COCO's form, read anew."""
        return read_json(self.file) if self._text is None else json.loads(self._text)

    def objects(self, index: int) -> dict[str, Any]:
        """The objects of one image.

        Returns:
            ``boxes`` (tv_tensor, x1 y1 x2 y2), ``labels`` int64 ``(N,)``, and where masks are read ``masks``
            (tv_tensor, uint8 ``(N, H, W)``).

        Raises:
            UnreadableImage: a mask cannot be rasterized.
        """
        notes, size = self.annotations, self.size(index)
        rows = slice(int(notes.first[index]), int(notes.first[index + 1]))
        boxes = tv_tensors.BoundingBoxes(torch.from_numpy(notes.boxes[rows].copy()), format="XYXY", canvas_size=size)  # type: ignore[call-overload]
        target: dict[str, Any] = {"boxes": boxes, "labels": torch.from_numpy(notes.labels[rows].copy())}
        if self.masks:
            target["masks"] = tv_tensors.Mask(torch.from_numpy(draw(self.segmentations(index), *size)))
        return target

    def segmentations(self, index: int) -> list[Segmentation]:
        """Segmentations of the objects of one image, as in the file."""
        notes = self.annotations
        return [
            json.loads(notes.segmentations[row]) for row in range(int(notes.first[index]), int(notes.first[index + 1]))
        ]

    def ground_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        """The file's contents about some images, as COCO's evaluation takes them.

        Crowds and boxes of every kind are included. Only what would break the evaluation is left out: values that are
        not finite, and masks that cannot be drawn.
        """
        return evaluation_annotations(self.content(), self.category_ids, image_ids, masks)

    def fingerprint(self) -> str:
        """sha256 over names, sizes, boxes and labels, hexadecimal."""
        notes = self.annotations
        return self._digest(notes.first, notes.boxes, notes.labels)


class Coco:
    """Images with objects in COCO's layout (Lin et al. 2014, arXiv 1405.0312).

    Category ids may be sparse: label k is the k-th id in rising order. Boxes without width or height, or outside their
    image, and invalid masks are left out of training and counted by reason (``records.annotations.dropped``). An image
    that is missing, damaged, or of another size than its annotations state is unreadable.

    Args:
        root: the folder.
        images: split -> folder below root.
        annotations: split -> file below root.
        masks: read masks too; objects without a usable mask are left out then.
        empty_images: train on images without objects too; evaluation always has them.

    Raises:
        DataError: (on reading) a folder or the annotation file is missing, or the file is another one.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(
        self,
        root: str,
        images: Mapping[str, str] = IMAGES,
        annotations: Mapping[str, str] = ANNOTATIONS,
        masks: bool = True,
        empty_images: bool = True,
    ) -> None:
        self.root = Path(root).expanduser()
        self.images, self.annotations = dict(images), dict(annotations)
        self.masks, self.empty_images = masks, empty_images

    def own_splits(self) -> list[str]:
        """Splits that have an annotation file."""
        return [split for split, name in self.annotations.items() if (self.root / name).is_file()]

    def open(self, split: str) -> CocoRecords:
        """Read one split; test equals val."""
        split = "val" if split == "test" else split
        folder, file = self.root / self.images[split], self.root / self.annotations[split]
        if not folder.is_dir() or not file.is_file():
            names = sorted(path.name for path in self.root.iterdir())[:12] if self.root.is_dir() else []
            raise DataError(
                f"expected the images {folder} and the annotations {file}; {self.root} holds "
                f"{', '.join(names) or 'nothing'}"
            )
        return CocoRecords(folder, file, self.masks, self.empty_images or split != "train")


def _finite(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, (int, float)) and value - value == 0 for value in box)
    )


def evaluation_annotations(
    content: dict[str, Any], category_ids: Sequence[int], image_ids: Sequence[int], masks: bool
) -> dict[str, Any]:
    """Annotations about some images and categories alone; see :meth:`CocoRecords.ground_truth`."""
    wanted = set(image_ids)
    images = [image for image in content["images"] if image["id"] in wanted]
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    known = set(category_ids)
    kept = []
    for annotation in content["annotations"]:
        size = sizes.get(annotation.get("image_id"))
        if size is None or annotation.get("category_id") not in known or not _finite(annotation.get("bbox")):
            continue
        if masks and problem(annotation.get("segmentation"), *size):
            continue
        kept.append(annotation)
    return {"info": {}, "images": images, "annotations": kept, "categories": content["categories"]}
