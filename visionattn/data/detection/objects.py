"""The objects of a COCO annotation file, one by one, checked and normalized."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from faster_coco_eval import mask as coco_mask

from visionattn.data.detection.coco_file import NO_CATEGORY, CocoFile, CocoImage
from visionattn.data.detection.masks import Segmentation, mended, to_runs
from visionattn.data.detection.tally import Tally
from visionattn.data.detection.values import as_flag, as_number, four_numbers

NO_MASK = "objects without a mask"
BAD_MASK = "invalid masks"
OUTSIDE = "boxes outside their image"
_ODD_ID = "annotations whose id is missing or occurs twice, which are numbered anew"


@dataclass(slots=True)
class CocoObject:
    """An annotation whose image and category are known and whose box is four finite numbers.

    Attributes:
        image: index of the image.
        label: of the category.
        box: x, y, width, height in pixels.
        area: in square pixels.
        crowd: whether it stands for a group of objects.
        segmentation: None without a mask that can be drawn.
        flaw: why it cannot be a target of training; empty if nothing is wrong.
        where: the annotation, for messages.
    """

    image: int
    label: int
    box: list[float]
    area: float
    crowd: bool
    segmentation: Segmentation | None
    flaw: str
    where: str


class ObjectReader:
    """Reads the objects of a file; what is mended, left out or without a mask is counted.

    Args:
        file: the annotation file.
        masks: look at masks too.

    Attributes:
        unmasked: objects without a mask that can be drawn, by reason.
    """

    def __init__(self, file: CocoFile, masks: bool = True) -> None:
        self.file, self.masks, self.unmasked = file, masks, Tally()

    def read(self) -> Iterator[CocoObject]:
        """Yield the objects in the order of the file."""
        seen: set[Any] = set()
        for annotation in self.file.annotations:
            self._note_id(annotation.get("id"), seen)
            index = self.file.image_of(annotation)
            if index is None:
                continue
            where = f"annotation {annotation.get('id')}"
            label = self.file.label_of(annotation)
            if label is None:
                self.file.dropped.add(NO_CATEGORY, f"{where}: category_id {annotation.get('category_id')}")
                continue
            segmentation = self._mask(annotation, self.file.images[index], where)
            box = self._box(annotation.get("bbox"), segmentation, self.file.images[index], where)
            if box is None:
                continue
            crowd, image = self._crowd(annotation, where), self.file.images[index]
            area = self._area(annotation, box, segmentation, image, where)
            flaw = _flaw(box, image)
            if flaw and not crowd:
                place = f" in {image.height}x{image.width}" if flaw == OUTSIDE else ""
                self.file.dropped.add(flaw, f"{where}: bbox {box}{place}")
            yield CocoObject(index, label, box, area, crowd, segmentation, flaw, where)

    def _note_id(self, number: Any, seen: set[Any]) -> None:
        number = number if isinstance(number, (int, str, float)) else None
        if number is None or number in seen:
            self.file.repaired.add(_ODD_ID, f"id {number}")
        seen.add(number)

    def _mask(self, annotation: dict[str, Any], image: CocoImage, where: str) -> Segmentation | None:
        if not self.masks and not _asks_for_mask(annotation):
            return None
        usable, repair, fault = mended(annotation.get("segmentation"), image.height, image.width)
        if repair:
            self.file.repaired.add(repair, where)
        elif usable is None:
            self.unmasked.add(BAD_MASK if fault else NO_MASK, f"{where}: {fault or 'no segmentation'}")
        return usable

    def _box(self, given: Any, mask: Segmentation | None, image: CocoImage, where: str) -> list[float] | None:
        """Four finite numbers; None: it is counted as left out."""
        if type(given) is list and len(given) == 4 and all(type(value) in (int, float) for value in given):
            if all(-math.inf < value < math.inf for value in given):
                return given
            self.file.dropped.add("boxes that are not finite", f"{where}: bbox {given}")
            return None
        if given in (None, [], "") and mask is not None:
            self.file.repaired.add("boxes that are missing, which are drawn around the masks", where)
            box: list[float] = coco_mask.toBbox([to_runs(mask, image.height, image.width)])[0].tolist()
            return box
        numbers = four_numbers(given)
        if numbers is None:
            self.file.dropped.add("boxes that are not four numbers", f"{where}: bbox {given}")
        else:
            self.file.repaired.add("boxes that are written as text", f"{where}: bbox {given}")
        return numbers

    def _crowd(self, annotation: dict[str, Any], where: str) -> bool:
        value = annotation.get("iscrowd", 0)
        flag = as_flag(value)
        if flag is None or value not in (0, 1):
            self.file.repaired.add("iscrowd values that are neither 0 nor 1", f"{where}: iscrowd {value!r}")
        return bool(flag)

    def _area(
        self, annotation: dict[str, Any], box: list[float], mask: Segmentation | None, image: CocoImage, where: str
    ) -> float:
        """The area that is stated, else that of the mask, else that of the box."""
        value = annotation.get("area")
        area = as_number(value)
        if area is not None and area >= 0:
            if isinstance(value, str):
                self.file.repaired.add("areas that are written as text", f"{where}: area {value!r}")
            return float(area)
        self.file.repaired.add("areas that are missing, computed from the mask or the box", f"{where}: area {value!r}")
        if mask is not None:
            return float(coco_mask.area(to_runs(mask, image.height, image.width)))
        return max(box[2], 0.0) * max(box[3], 0.0)


def _asks_for_mask(annotation: dict[str, Any]) -> bool:
    """Whether the box or the area has to come from the mask."""
    return annotation.get("bbox") in (None, [], "") or as_number(annotation.get("area")) is None


def _flaw(box: list[float], image: CocoImage) -> str:
    left, top, width, height = box
    if width <= 0 or height <= 0:
        return "boxes without width or height"
    if left >= image.width or top >= image.height or left + width <= 0 or top + height <= 0:
        return OUTSIDE
    return ""
