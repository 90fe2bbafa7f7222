"""Images with label maps in two folders: what the layouts of all data sets share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionattn.data.decode import DecodedImage, decode_rgb
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.facts import DataFacts
from visionattn.data.fixed_split import fixed_split
from visionattn.data.folders import some, without_ending
from visionattn.data.orientation import size_of
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.segmentation.classes import ClassList
from visionattn.data.segmentation.labels import IGNORE, LabelError, LabelTable
from visionattn.data.segmentation.mask_files import ColorTable, decode_mask
from visionattn.data.segmentation.sources.pairs import Layout, find_pairs
from visionattn.data.survey import survey_files
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError


class MaskRecords:
    """One split of images with label maps, by index.

    The id of a sample is its image's path below the root, without the extension.

    Args:
        root: folder of the data set.
        pairs: paths of image and mask, relative to the root.
        classes: of the data set.
        table: from stored numbers to classes.
        told: sentences for the user about what was read.
        colors: of the stored numbers, for masks in color.
    """

    decoding: Decoding = AS_STORED

    def __init__(
        self,
        root: Path,
        pairs: Sequence[tuple[str, str]],
        classes: ClassList,
        table: LabelTable,
        told: Sequence[str] = (),
        colors: ColorTable | None = None,
    ) -> None:
        self.root, self.classes, self.table, self.told, self.colors = root, classes, table, told, colors
        self._images = PackedStrings(image for image, _ in pairs)
        self._masks = PackedStrings(mask for _, mask in pairs)
        self.ids = PackedStrings(without_ending(image) for image, _ in pairs)

    @property
    def class_names(self) -> list[str]:
        """Names in label order."""
        return self.classes.names

    def load(self, index: int, decode: Decoder = decode_rgb) -> tuple[DecodedImage, np.ndarray]:
        """One image and its classes, uint8 ``(H, W)``.

        Raises:
            UnreadableImage: image or mask cannot be read, or their sizes differ.
            LabelError: the mask cannot be right; the message names it.
        """
        data = self.image_bytes(index)
        classes = self.table(self.stored(index), str(self.mask_path(index)))
        stated = (classes.shape[0], classes.shape[1])
        image = self.decoding(data, stated, decode)
        own = size_of(image)
        if stated != own:
            cause = self.decoding.why_other_size(data, own, stated)
            raise UnreadableImage(f"its mask has {stated[0]}x{stated[1]} pixels, it has {own[0]}x{own[1]}{cause}")
        return image, classes

    def stored(self, index: int) -> np.ndarray:
        """The mask's numbers as they are stored.

        Raises:
            UnreadableImage: the mask cannot be read.
            LabelError: it is no mask; the message names it.
        """
        try:
            return decode_mask(self.mask_path(index).read_bytes(), self.colors)
        except OSError as error:
            raise UnreadableImage(f"its mask cannot be opened: {error.strerror or error}") from None
        except UnreadableImage as error:
            raise UnreadableImage(f"its mask cannot be read: {error}") from None
        except LabelError as error:
            raise LabelError(f"{self.mask_path(index)}: {error}") from None

    def image_bytes(self, index: int) -> bytes:
        """The content of the image's file.

        Raises:
            UnreadableImage: it cannot be read.
        """
        try:
            return self.image_path(index).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"cannot be opened: {error.strerror or error}") from None

    def image_path(self, index: int) -> Path:
        """The image's file."""
        return self.root / self._images[index]

    def mask_path(self, index: int) -> Path:
        """The mask's file."""
        return self.root / self._masks[index]

    def fingerprint(self) -> str:
        """sha256 over the ordered ids and the sizes of the mask files, hexadecimal."""
        digest = hashlib.sha256()
        for index, sample_id in enumerate(self.ids):
            digest.update(f"{sample_id}\t{self.mask_path(index).stat().st_size}\n".encode())
        return digest.hexdigest()


class MaskSource(ABC):
    """A data set of images and masks below a root.

    A subclass gives :meth:`layouts` and :meth:`classes`, and :meth:`ignored` where it is another number.

    Args:
        root: the folder, or the one above (see ``folders``).
        val_fraction: share of the images that is val where a layout has one folder for all.

    Raises:
        DataError: (on reading) a folder is missing, or an image has no mask; the message names it.

    Attributes:
        folders: names below the given root that the download creates; the first that exists is the root.
        own_test: whether a test split of its own is read where it exists.
    """

    splits: Sequence[str] = ("train", "val", "test")
    folders: Sequence[str] = ("",)
    own_test = False

    def __init__(self, root: str, val_fraction: float = 0.2) -> None:
        given = Path(root).expanduser()
        self.root = next((given / name for name in self.folders if (given / name).is_dir()), given)
        self.val_fraction = val_fraction

    @abstractmethod
    def classes(self) -> ClassList:
        """The classes, in label order."""

    @abstractmethod
    def layouts(self, split: str) -> Sequence[Layout]:
        """Possible folders of a split (train or val; test where ``own_test``); the first that exists is read."""

    def ignored(self) -> Sequence[int]:
        """Stored numbers that count nowhere."""
        return (IGNORE,)

    def color_table(self) -> ColorTable | None:
        """From colors to stored numbers, for masks in color; None: masks hold numbers."""
        return None

    def filled(self) -> dict[str, Any]:
        """Options of the source that ``auto`` stands for, see :meth:`inspect`."""
        return {}

    def notes(self) -> list[str]:
        """Sentences about the data, for the user."""
        return []

    def table(self) -> LabelTable:
        """From stored numbers to classes."""
        return LabelTable(self.classes().numbers, self.ignored())

    def open(self, split: str) -> MaskRecords:
        """Read one split; test equals val where there is no test."""
        if split not in self.splits:
            raise DataError(f"{type(self).__name__} has no split {split!r}, only {', '.join(self.splits)}")
        return self.records(*self.paired(split))

    def records(self, pairs: Sequence[tuple[str, str]], told: Sequence[str]) -> MaskRecords:
        """The records of pairs; a subclass whose masks are no image files gives its own."""
        return MaskRecords(self.root, pairs, self.classes(), self.table(), told, self.color_table())

    def paired(self, split: str) -> tuple[list[tuple[str, str]], list[str]]:
        """Paths of image and mask below the root, and what is to be told about them."""
        return self.pairs_of(self.layout(split))

    def layout(self, split: str) -> Layout:
        """The first layout of a split that exists.

        Raises:
            DataError: none does; the message names the folders.
        """
        if split == "test" and not (self.own_test and self._present("test")):
            split = "val"
        present = self._present(split)
        if not self.root.is_dir():
            raise DataError(f"data.root={self.root} is not a folder")
        if not present:
            tried = some([str(self.root / layout.images) for layout in self.layouts(split)], 4)
            raise DataError(f"there is no folder of {split} images: {tried}")
        found = next((layout for layout in present if (self.root / layout.masks).is_dir()), None)
        if found is None:
            tried = some([str(self.root / layout.masks) for layout in present], 4)
            raise DataError(f"the {split} images have no masks: there is no folder {tried}")
        return found

    def _present(self, split: str) -> list[Layout]:
        return [layout for layout in self.layouts(split) if (self.root / layout.images).is_dir()]

    def pairs_of(self, layout: Layout) -> tuple[list[tuple[str, str]], list[str]]:
        """The same of a layout."""
        pairs = find_pairs(self.root, layout)
        names, told = pairs.names, pairs.told
        if layout.part:
            held = fixed_split(names, self.val_fraction)
            names = [name for name, val in zip(names, held, strict=True) if val == (layout.part == "val")]
            told.append(
                f"{self.root / layout.images} holds all images: a fixed {self.val_fraction:.0%} of them is val "
                f"({int(held.sum())} of {len(held)}), by their names alone"
            )
        images, masks = pairs.images, pairs.masks
        return [(f"{layout.images}/{images[name]}", f"{layout.masks}/{masks[name]}") for name in names], told

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`."""
        given = {name: value for name, value in options.items() if not name.startswith("_") and name != "root"}
        source = cls(str(root), **given)
        pairs, told = dict[str, list[tuple[str, str]]](), dict.fromkeys(source.notes())
        for split in ("train", "val"):
            pairs[split], sentences = source.paired(split)
            told |= dict.fromkeys(sentences)
        files = [source.root / image for image, _ in pairs["train"]]
        survey = survey_files(files)
        return DataFacts(
            num_classes=len(source.classes().names),
            class_names=tuple(source.classes().names),
            image_size=survey.typical_size,
            images={split: len(found) for split, found in pairs.items()},
            options=source.filled(),
            notes=(*told, *survey.notes),
            in_chans=survey.channels,
            value_range=survey.value_range,
        )
