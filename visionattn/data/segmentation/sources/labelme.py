"""labelme's files as maps of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.classes import not_among
from visionattn.data.detection.formats.sizes import shown_size
from visionattn.data.detection.masks import draw, problem
from visionattn.data.facts import AUTO
from visionattn.data.labelme import BACKGROUND, NOWHERE, LabelmeImage, class_names, read_labelme
from visionattn.data.labelme_files import LabelmeFiles
from visionattn.data.segmentation.classes import ClassList
from visionattn.data.segmentation.labels import IGNORE, LabelError
from visionattn.data.segmentation.sources.masks import MaskRecords, MaskSource
from visionattn.data.segmentation.sources.pairs import Layout
from visionattn.data.unreadable import UnreadableImage
from visionattn.drawing.palette import palette_of
from visionattn.errors import DataError

_BACKGROUND = "background"


class LabelmeRecords(MaskRecords):
    """One split, whose maps are drawn from JSON files."""

    def stored(self, index: int) -> np.ndarray:
        """The map of an image, uint8 ``(H, W)``: shapes in the order of the file, a later one over an earlier one.

        Raises:
            UnreadableImage: the file cannot be read.
            LabelError: a class that is not among the data set's.
        """
        file = self.mask_path(index)
        try:
            notes = read_labelme(file)
        except DataError as error:
            raise UnreadableImage(str(error)) from None
        numbers = {name: number for number, name in enumerate(self.class_names)}
        return _drawn(file, notes, notes.size or shown_size(self.image_path(index)), numbers)


class LabelmeMasks(MaskSource):
    """Images with one JSON file of shapes each, as the tool labelme (Wada 2016) writes them, for semantic segmentation.

    Where the files lie, see :class:`visionattn.data.detection.Labelme`. Images without a file are left out. What no
    shape covers is the class ``background``, as is a shape called ``_background_``; ``__ignore__`` counts nowhere.
    Rectangles are filled as polygons and circles are.

    Args:
        root: the folder.
        class_names: without the background, in the order of their labels; ``auto``: those of ``labels.txt`` if there is
            such a file, else those of the training files in alphabetical order.
        val_fraction: of the images that are held out where no folder is for validation.
    """

    own_test = True

    def __init__(self, root: str, class_names: Sequence[str] | str = AUTO, val_fraction: float = 0.2) -> None:
        super().__init__(root, val_fraction)
        self._given = None if isinstance(class_names, str) else [str(name) for name in class_names]
        self.place = LabelmeFiles(self.root, val_fraction)

    @cached_property
    def names(self) -> list[str]:
        """The classes without the background."""
        return self._given or class_names(self.root, self.place.labels("train"))

    def classes(self) -> ClassList:
        names = [_BACKGROUND, *self.names]
        return ClassList(names, list(range(len(names))), palette_of(names))

    def layouts(self, split: str) -> Sequence[Layout]:
        """None: the files are found by their images."""
        return ()

    def paired(self, split: str) -> tuple[list[tuple[str, str]], list[str]]:
        """Image and JSON file below the root, and what is to be told about them.

        Raises:
            DataError: there are none.
        """
        pairs = self.place.pairs(split) or (self.place.pairs("val") if split == "test" else [])
        labeled = [(image, file) for image, file in pairs if file is not None]
        if not labeled:
            raise DataError(f"{self.root} has no image with a file of labelme for {split}")
        told = [f"layout: labelme's JSON files, {self.place.told}"]
        if len(labeled) < len(pairs):
            told.append(f"{len(pairs) - len(labeled)} of {len(pairs)} images have no file of labelme and are left out")
        return [tuple(path.relative_to(self.root).as_posix() for path in pair) for pair in labeled], told  # type: ignore[misc]

    def records(self, pairs: Sequence[tuple[str, str]], told: Sequence[str]) -> LabelmeRecords:
        return LabelmeRecords(self.root, pairs, self.classes(), self.table(), told)

    def filled(self) -> dict[str, Any]:
        return {"class_names": self.names}


def _drawn(file: Path, notes: LabelmeImage, size: tuple[int, int], numbers: Mapping[str, int]) -> np.ndarray:
    """The map of a file, uint8 ``(H, W)``."""
    known = [name for name in numbers if numbers[name]]
    numbers = {**numbers, BACKGROUND: 0, NOWHERE: IGNORE}
    classes = np.zeros(size, np.uint8)
    for one in notes.shapes:
        if not one.has_area:
            continue
        if one.label not in numbers:
            raise LabelError(f"{file}: {not_among(one.label, known)}")
        if one.mask is not None:
            where = one.paint(*size)
        elif fault := problem([one.outline], *size):
            raise UnreadableImage(f"{file}: {one.label}: {fault}")
        else:
            where = draw([[one.outline]], *size)[0] > 0
        classes[where] = numbers[one.label]
    return classes
