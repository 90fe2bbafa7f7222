"""Records of data in COCO's format: images by index, and their objects."""

from __future__ import annotations

import hashlib
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from visionattn.data.decode import as_tensor
from visionattn.data.decoding import Decoding
from visionattn.data.detection.annotations import Annotations, evaluation_annotations, read_annotations
from visionattn.data.detection.coco_file import read_coco
from visionattn.data.detection.json_file import read_json
from visionattn.data.detection.masks import Segmentation, draw
from visionattn.data.detection.tally import Tally
from visionattn.data.facts import AUTO
from visionattn.data.orientation import size_of
from visionattn.data.records import PackedStrings
from visionattn.data.unreadable import UnreadableImage


class ImageList(Protocol):
    """What the annotations of COCO's layouts say about images and categories.

    Attributes:
        names: file names.
        image_ids: number of each image, int64 ``(I,)``.
        file_ids: the file's id of each image.
        sizes: int64 ``(I, 2)``, (height, width).
        category_ids: the file's id of label 0, 1, ...
        class_names: names of label 0, 1, ...
        dropped: what was left out.
        repaired: what was mended.
        listed: number of annotations in the file.
    """

    names: PackedStrings
    image_ids: np.ndarray
    file_ids: list[Any]
    sizes: np.ndarray
    category_ids: list[Any]
    class_names: list[str]
    dropped: Tally
    repaired: Tally
    listed: int


A = TypeVar("A", bound=ImageList)
Part = Callable[[dict[str, Any]], dict[str, Any]]
"""From the contents of an annotation file to those about some of its images."""


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
        # packed, not objects: reading an object writes its reference count, and every worker would copy all of them
        self._truths: dict[bool, tuple[Sequence[int], bytes]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_truths": {}}

    def ground_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        """The contents of COCO's file of objects about some images, as its evaluation takes them.

        The file is read once for the same images: every validation asks for these.

        Args:
            image_ids: numbers of the images.
            masks: with segmentations.

        Raises:
            DataError: what the annotations of a panoptic split name is not in the file of objects.
        """
        known, packed = self._truths.get(masks, ((), b""))
        if not packed or list(known) != list(image_ids):
            packed = pickle.dumps(self._read_truth(image_ids, masks))
            self._truths[masks] = list(image_ids), packed
        truth: dict[str, Any] = pickle.loads(packed)
        return truth

    @abstractmethod
    def _read_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        """Contents of the file of objects; see :meth:`ground_truth`."""

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
        masks: read masks; ``auto``: where any object has one.
        empty_images: keep images without any object.
        content: annotations of another format, in COCO's form; None: those of ``file``.
        part: the images of the file that belong to the split; None: all.
    """

    def __init__(
        self,
        folder: Path,
        file: Path,
        masks: bool | str = AUTO,
        empty_images: bool = True,
        content: dict[str, Any] | None = None,
        part: Part | None = None,
    ) -> None:
        self._part = part
        # text, not objects: reading an object writes its reference count, and every worker would copy all of them
        self._text = None if content is None else json.dumps(content).encode()
        self.file = file
        super().__init__(folder, read_annotations(self.content(), file, masks is not False, empty_images, folder))
        self.labels = self.annotations.labels
        self.masks = bool(self.annotations.has_mask.any())

    def content(self) -> dict[str, Any]:
        """All annotations of the split in COCO's form, read anew."""
        content = read_json(self.file) if self._text is None else json.loads(self._text)
        return content if self._part is None else self._part(content)

    def rows(self, index: int) -> slice:
        """Where the objects of one image stand in the arrays of ``annotations``."""
        first = self.annotations.first
        return slice(int(first[index]), int(first[index + 1]))

    def boxes(self, index: int) -> dict[str, Any]:
        """``boxes`` and ``labels`` of the objects of one image, see :meth:`objects`."""
        notes, rows = self.annotations, self.rows(index)
        size = self.size(index)
        boxes = tv_tensors.BoundingBoxes(torch.from_numpy(notes.boxes[rows].copy()), format="XYXY", canvas_size=size)  # type: ignore[call-overload]
        return {"boxes": boxes, "labels": torch.from_numpy(notes.labels[rows].copy())}

    def objects(self, index: int, masks: bool | None = None) -> dict[str, Any]:
        """The objects of one image.

        Args:
            index: of the image.
            masks: draw masks; None: if any object of the split has one.

        Returns:
            ``boxes`` (tv_tensor, x1 y1 x2 y2), ``labels`` int64 ``(N,)``, with masks ``masks`` (tv_tensor, uint8
            ``(N, H, W)``) and, if some objects of the image have none, ``has_mask`` bool ``(N,)``.

        Raises:
            UnreadableImage: a mask cannot be rasterized.
        """
        target = self.boxes(index)
        if self.masks if masks is None else masks:
            target["masks"] = tv_tensors.Mask(torch.from_numpy(draw(self.segmentations(index), *self.size(index))))
            known = self.annotations.has_mask[self.rows(index)]
            if not known.all():
                target["has_mask"] = torch.from_numpy(known.copy())
        return target

    def mask_pixels(self, index: int) -> int:
        """Pixels of the masks of one image, drawn at its size."""
        rows, (height, width) = self.rows(index), self.size(index)
        return (rows.stop - rows.start) * height * width

    def segmentations(self, index: int) -> list[Segmentation | None]:
        """Segmentations of the objects of one image; None for an object without one."""
        texts, rows = self.annotations.segmentations, self.rows(index)
        return [json.loads(text) if text else None for text in (texts[row] for row in range(rows.start, rows.stop))]

    def _read_truth(self, image_ids: Sequence[int], masks: bool) -> dict[str, Any]:
        file, wanted = read_coco(self.content(), self.file, self.folder), set(image_ids)
        images = {i: image.number for i, image in enumerate(file.images) if image.number in wanted}
        return evaluation_annotations(file, images, dict(enumerate(self.category_ids)), masks)

    def fingerprint(self) -> str:
        """sha256 over names, sizes, boxes and labels, hexadecimal."""
        notes = self.annotations
        return self._digest(notes.first, notes.boxes, notes.labels)
