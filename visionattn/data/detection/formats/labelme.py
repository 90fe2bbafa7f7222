"""labelme's files as objects with boxes and masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from visionattn.data.detection.formats.content import Content, enclosing_box, listing
from visionattn.data.detection.formats.sizes import shown_size
from visionattn.data.detection.formats.source import SAMPLED_LABELS, BoxSource
from visionattn.data.detection.masks import draw, encode
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.facts import AUTO
from visionattn.data.labelme import LabelmeImage, Shape, class_names, read_labelme
from visionattn.data.labelme_files import LabelmeFiles
from visionattn.errors import DataError


class Labelme(BoxSource):
    """Images with one JSON file of shapes each, as the tool labelme (Wada 2016) writes them.

    The files lie beside the images, or in ``labels`` or ``annotations`` beside ``images``; in folders ``train``,
    ``val`` (or ``valid``) and ``test``, or in one folder, of which a fixed share is held out.

    Polygons, circles and masks are objects with a mask, rectangles are boxes alone. Shapes of one label and
    ``group_id`` are one object. Lines and points enclose nothing and are counted and left out; shapes called
    ``_background_`` or ``__ignore__`` are no objects.

    Where more than three tenths of the objects are rectangles, ``masks`` of ``auto`` are not inferred.

    Args:
        root: the folder.
        class_names: in the order of their labels; None: those of ``labels.txt`` if there is such a file, else those of
            the training files in alphabetical order.
        val_fraction: of the images that are held out where there are no splits.
        masks: see :class:`BoxSource`.
        empty_images: see :class:`BoxSource`.

    Raises:
        DataError: (on reading) there are no such files, or a class that ``class_names`` lacks.
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
        self.place = LabelmeFiles(self.root, val_fraction)

    @cached_property
    def _names(self) -> list[str]:
        return self.class_names or class_names(self.root, self.place.labels("train"))

    def classes(self) -> list[str]:
        return self._names

    def files(self, split: str) -> list[Path]:
        return [image for image, _ in self.place.pairs(split)]

    def masked_share(self) -> MaskedShare:
        found = (self._readable(path) for path in self.place.labels("train")[:SAMPLED_LABELS])
        masked = [_has_mask(parts) for image in found if image for parts in image.objects()]
        return MaskedShare(sum(masked), len(masked))

    def notes(self) -> list[str]:
        return [f"layout: labelme's JSON files, {self.place.told}"]

    def read(self, split: str) -> tuple[Path, Path, Content]:
        pairs = self.place.pairs(split)
        if not pairs:
            raise DataError(
                f"{self.root} has no split {split}, only {', '.join(self.own_splits()) or 'none'}; {listing(self.root)}"
            )
        content = Content(self.classes())
        folder = Path(os.path.commonpath([image.parent for image, _ in pairs]))
        for image, file in pairs:
            name = image.relative_to(folder).as_posix()
            if file is None:
                content.add_image(name, shown_size(image))
                continue
            try:
                notes = read_labelme(file)
            except DataError as error:
                content.dropped.add("images whose JSON file cannot be read", str(error))
                continue
            self._add(content, name, image, file, notes)
        return folder, self.root, content

    def _add(self, content: Content, name: str, image: Path, file: Path, notes: LabelmeImage) -> None:
        size = notes.size or shown_size(image)
        number = content.add_image(name, size)
        for one in notes.shapes:
            if not one.has_area:
                content.dropped.add("shapes that enclose nothing, such as lines and points", f"{file}: {one.kind}")
        for parts in notes.objects():
            _add_object(content, number, content.label_of(parts[0].label, file), parts, size)

    @staticmethod
    def _readable(path: Path) -> LabelmeImage | None:
        try:
            return read_labelme(path)
        except DataError:
            return None


def _has_mask(parts: Sequence[Shape]) -> bool:
    return any(one.kind != "rectangle" for one in parts)


def _add_object(content: Content, number: int, label: int, parts: Sequence[Shape], size: tuple[int, int]) -> None:
    outlines = [one.outline for one in parts if one.mask is None]
    if all(one.mask is None for one in parts):
        content.add_object(number, label, enclosing_box(outlines), outlines if _has_mask(parts) else None)
        return
    whole = draw([outlines or None], *size)[0].astype(bool)
    for one in parts:
        whole |= one.paint(*size) if one.mask is not None else False
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    if not len(rows):
        content.dropped.add("masks that have no pixel in their image", parts[0].label)
        return
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    content.add_object(number, label, box, encode(whole.astype(np.uint8)[None])[0], float(whole.sum()))
