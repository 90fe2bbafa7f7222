"""Pascal VOC's detection layout, and the same files in folders of splits or in one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from visionattn.data.detection.formats.beside import FOLDERS, IMAGES, Pair, folder_of, label_files, pairs_in, share_of
from visionattn.data.detection.formats.content import Content, enclosing_box, image_files, listing, read_text
from visionattn.data.detection.formats.sizes import shown_size
from visionattn.data.detection.formats.source import SAMPLED_LABELS, BoxSource
from visionattn.data.detection.formats.voc_xml import VocImage, VocObject, read_xml
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.facts import AUTO
from visionattn.errors import ConfigError, DataError

LISTS = {"train": "train", "val": "val", "test": "test"}


class PascalVOCDetection(BoxSource):
    """Images with one XML file of boxes each (Everingham et al. 2010).

    Three layouts are recognized: VOC's own (``Annotations``, ``JPEGImages``, ``ImageSets/Main/<list>.txt``); folders
    ``train``, ``val`` (or ``valid``) and ``test`` with the files beside the images or in such folders, as Roboflow
    exports them; and one folder without splits, of which a fixed share is held out.

    Coordinates are those of pixels that the box includes. In VOC's own files the first pixel is 1 (``first_pixel``), so
    a box from ``xmin`` to ``xmax`` covers the image from ``xmin - 1`` to ``xmax``. Difficult objects are not trained on
    and in evaluation neither right nor wrong, as VOC has it; COCO's rule for crowds does that here.

    Args:
        root: the folder.
        class_names: in the order of their labels; None: those of ``labels.txt`` if there is such a file, else those of
            the training files in alphabetical order.
        lists: split -> name of the list in ``ImageSets/Main``.
        first_pixel: coordinate of the first row and column, 1 or 0.
        val_fraction: of the images that are held out where there are no splits.
        masks: see :class:`BoxSource`; polygons that some tools write beside the boxes.
        empty_images: see :class:`BoxSource`.

    Raises:
        ConfigError: ``first_pixel`` is neither 0 nor 1.
        DataError: (on reading) no such layout, or a class that ``class_names`` lacks.
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str] | None = None,
        lists: Mapping[str, str] = LISTS,
        first_pixel: int = 1,
        val_fraction: float = 0.2,
        masks: bool | str = AUTO,
        empty_images: bool = True,
    ) -> None:
        super().__init__(root, masks, empty_images)
        if first_pixel not in (0, 1):
            raise ConfigError(f"data.source.first_pixel must be 1 (VOC's own files) or 0, got {first_pixel}")
        self.class_names = None if class_names is None else list(class_names)
        self.lists, self.first_pixel, self.val_fraction = dict(lists), first_pixel, val_fraction
        self._files: dict[str, list[Pair]] = {}

    @cached_property
    def base(self) -> Path:
        """The folder with the layout: root, or the only VOC folder below it."""
        if not self.root.is_dir():
            raise DataError(f"there is no folder {self.root}; set data.root to the data set's folder")
        if not (self.root / "Annotations").is_dir():
            below = [*self.root.glob("*/Annotations"), *self.root.glob("VOCdevkit/*/Annotations")]
            own = [path.parent for path in below if (path.parent / "ImageSets").is_dir()]
            if len(own) > 1:
                raise DataError(f"{self.root} holds several sets: {', '.join(map(str, own))}; set data.root to one")
            return own[0] if own else self.root
        return self.root

    @cached_property
    def layout(self) -> str:
        """``lists``, ``folders`` or ``flat``.

        Raises:
            DataError: none of them.
        """
        if (self.base / "ImageSets" / "Main").is_dir():
            return "lists"
        if any(label_files(self.base / name, ".xml") for name in FOLDERS["train"]):
            return "folders"
        if label_files(self.base, ".xml"):
            return "flat"
        raise DataError(
            f"{self.root} is not in Pascal VOC's layout: expected Annotations and ImageSets/Main, or train and valid "
            f"with XML files, or XML files beside images; {listing(self.root)}"
        )

    def classes(self) -> list[str]:
        if self.class_names is None and (self.base / "labels.txt").is_file():
            self.class_names = [
                line.strip() for line in read_text(self.base / "labels.txt").splitlines() if line.strip()
            ]
        if self.class_names is None:
            names = {one.name for _, xml in self._pairs("train") if xml for one in read_xml(xml).objects}
            self.class_names = sorted(name for name in names if name)
            if not self.class_names:
                raise DataError(f"no training annotation of {self.base} names an object")
        return self.class_names

    def files(self, split: str) -> list[Path]:
        return [image for image, _ in self._pairs(split)]

    def masked_share(self) -> MaskedShare:
        found = [xml for _, xml in self._pairs("train") if xml is not None][:SAMPLED_LABELS]
        masked = [bool(one.polygons) for xml in found for one in read_xml(xml).objects]
        return MaskedShare(sum(masked), len(masked))

    def notes(self) -> list[str]:
        shared = f"{self.val_fraction:.0%} of whose images are held out by their names"
        ways = {
            "lists": f"ImageSets/Main/{self.lists['train']}.txt and {self.lists['val']}.txt",
            "folders": f"train, {shared}" if self._divided else "one folder per split",
            "flat": f"one folder, {shared}",
        }
        return [f"layout: Pascal VOC's XML files, {ways[self.layout]}", f"the first pixel is {self.first_pixel}"]

    def read(self, split: str) -> tuple[Path, Path, Content]:
        pairs = self._pairs(split)
        if not pairs:
            raise DataError(f"{self.base} has no split {split}, only {', '.join(self.own_splits()) or 'none'}")
        content = Content(self.classes())
        folder = Path(os.path.commonpath([image.parent for image, _ in pairs]))
        zeros = difficult = 0
        for image, xml in pairs:
            name = image.relative_to(folder).as_posix()
            if xml is None:
                content.add_image(name, shown_size(image))
                continue
            try:
                notes = read_xml(xml)
            except DataError as error:
                content.dropped.add("images whose XML file cannot be read", str(error))
                continue
            zeros += sum(0 in one.corners[:2] for one in notes.objects if one.corners)
            difficult += sum(one.difficult for one in notes.objects)
            self._add(content, name, image, xml, notes)
        content.told += _told(zeros if self.first_pixel else 0, difficult)
        return folder, self.base, content

    def _add(self, content: Content, name: str, image: Path, xml: Path, notes: VocImage) -> None:
        number = content.add_image(name, notes.size or shown_size(image))
        for one in notes.objects:
            label = content.label_of(one.name, xml)
            if one.corners is None:
                content.dropped.add("boxes that are not four numbers", f"{xml}: {one.text}")
                continue
            self._add_object(content, number, label, one)

    def _add_object(self, content: Content, number: int, label: int, one: VocObject) -> None:
        assert one.corners is not None
        left, top, right, bottom = one.corners
        first = self.first_pixel
        box = [left - first, top - first, right - left + 1, bottom - top + 1]
        polygons = [[value - first for value in polygon] for polygon in one.polygons] or None
        if polygons is not None and enclosing_box(polygons)[2:] == [0, 0]:
            polygons = None
        content.add_object(number, label, box, polygons, crowd=one.difficult)

    def _pairs(self, split: str) -> list[Pair]:
        """Image and annotation file of every image of a split; empty where the split is missing."""
        if split not in self._files:
            find = {"lists": self._of_list, "folders": self._of_folder, "flat": self._of_share}[self.layout]
            self._files[split] = find(split)
        return self._files[split]

    def _of_list(self, split: str) -> list[Pair]:
        file = self.base / "ImageSets" / "Main" / f"{self.lists.get(split, split)}.txt"
        if not file.is_file():
            if split == "test":
                return []
            raise DataError(
                f"{file} is missing; name the list of {split} in data.source.lists ({listing(file.parent)})"
            )
        names = [words[0] for words in map(str.split, read_text(file).splitlines()) if words]
        folder = next((self.base / name for name in IMAGES if (self.base / name).is_dir()), self.base)
        images = {path.stem: path for path in image_files(folder)}
        pairs: list[Pair] = []
        for name in names:
            xml = self.base / "Annotations" / f"{name}.xml"
            if not xml.is_file():
                raise DataError(f"{file} lists {name}, but {xml} is missing")
            pairs.append((images.get(Path(name).name, folder / f"{name}.jpg"), xml))
        return pairs

    def _of_folder(self, split: str) -> list[Pair]:
        train, folder = folder_of(self.base, "train"), folder_of(self.base, split)
        if split != "test" and self._divided and train is not None:
            return share_of(train, _matched(train), split, self.val_fraction)
        return [] if folder is None else _matched(folder)

    @property
    def _divided(self) -> bool:
        """Whether no folder is for validation, so that a share of train is held out."""
        return folder_of(self.base, "val") is None

    def _of_share(self, split: str) -> list[Pair]:
        return share_of(self.base, _matched(self.base), split, self.val_fraction)


def _matched(folder: Path) -> list[Pair]:
    return pairs_in(folder, ".xml", lambda path: read_xml(path).file_name)


def _told(zeros: int, difficult: int) -> list[str]:
    told = []
    if difficult:
        told.append(
            f"{difficult} difficult objects are not trained on, and detections of them count neither way (COCO's rule "
            "for crowds)"
        )
    if zeros:
        told.append(
            f"{zeros} boxes start at 0, although VOC counts from 1: if the tool that wrote them counts from 0, set "
            "data.source.first_pixel=0"
        )
    return told
