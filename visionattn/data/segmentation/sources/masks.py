"""Images with label maps in two folders: what the layouts of all data sets share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionattn.data.decode import EXTENSIONS, DecodedImage, decode_rgb
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.orientation import size_of
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.segmentation.classes import ClassList
from visionattn.data.segmentation.labels import IGNORE, LabelError, LabelTable, decode_mask
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

_SHOWN = 8


class MaskRecords:
    """One split of images with label maps, by index.

    The id of a sample is its image's path below the root, without the extension.

    Args:
        root: folder of the data set.
        pairs: paths of image and mask, relative to the root.
        classes: of the data set.
        table: from stored numbers to classes.
    """

    decoding: Decoding = AS_STORED

    def __init__(self, root: Path, pairs: Sequence[tuple[str, str]], classes: ClassList, table: LabelTable) -> None:
        self.root, self.classes, self.table = root, classes, table
        self._images = PackedStrings(image for image, _ in pairs)
        self._masks = PackedStrings(mask for _, mask in pairs)
        self.ids = PackedStrings(str(Path(image).with_suffix("")) for image, _ in pairs)

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
        data = self.image_path(index).read_bytes()
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
            return decode_mask(self.mask_path(index).read_bytes())
        except UnreadableImage as error:
            raise UnreadableImage(f"its mask cannot be read: {error}") from None
        except LabelError as error:
            raise LabelError(f"{self.mask_path(index)}: {error}") from None

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


@dataclass(frozen=True)
class Layout:
    """Folders of a split below the root.

    Attributes:
        images: folder of the images.
        masks: folder of the masks.
        image_suffix: end of an image's name after the part it shares with its mask.
        mask_suffix: the same of masks.
        listed: a file of names, one a line; without it the folder of images is the list.
    """

    images: str
    masks: str
    image_suffix: str = ""
    mask_suffix: str = ".png"
    listed: str = ""


class MaskSource(ABC):
    """A data set of images and masks below a root.

    A subclass gives :meth:`layouts` and :meth:`classes`, and :meth:`ignored` where it is another number.

    Args:
        root: the folder, or the one above (see ``folders``).

    Raises:
        DataError: (on reading) a folder is missing, or an image has no mask; the message names it.

    Attributes:
        folders: names below the given root that the download creates; the first that exists is the root.
    """

    splits: Sequence[str] = ("train", "val", "test")
    folders: Sequence[str] = ("",)

    def __init__(self, root: str) -> None:
        given = Path(root).expanduser()
        self.root = next((given / name for name in self.folders if (given / name).is_dir()), given)

    @abstractmethod
    def classes(self) -> ClassList:
        """The classes, in label order."""

    @abstractmethod
    def layouts(self, split: str) -> Sequence[Layout]:
        """Possible folders of train or val; the first that exists is read."""

    def ignored(self) -> Sequence[int]:
        """Stored numbers that count nowhere."""
        return (IGNORE,)

    def table(self) -> LabelTable:
        """From stored numbers to classes."""
        return LabelTable(self.classes().numbers, self.ignored())

    def open(self, split: str) -> MaskRecords:
        """Read one split; test equals val."""
        if split not in self.splits:
            raise DataError(f"{type(self).__name__} has no split {split!r}, only {', '.join(self.splits)}")
        choices = self.layouts("val" if split == "test" else split)
        present = [layout for layout in choices if (self.root / layout.images).is_dir()]
        if not present:
            tried = " or ".join(str(self.root / layout.images) for layout in choices)
            raise DataError(f"there is no folder of {split} images: {tried}")
        layout = next((layout for layout in present if (self.root / layout.masks).is_dir()), None)
        if layout is None:
            tried = " or ".join(str(self.root / layout.masks) for layout in present)
            raise DataError(f"the {split} images have no masks: there is no folder {tried}")
        return MaskRecords(self.root, self._pairs(layout), self.classes(), self.table())

    def _pairs(self, layout: Layout) -> list[tuple[str, str]]:
        images, masks = (
            _stems(self.root / layout.images, layout.image_suffix),
            _stems(self.root / layout.masks, layout.mask_suffix),
        )
        names = sorted(images) if not layout.listed else _listed(self.root / layout.listed)
        for kind, paths in (("image", images), ("mask", masks)):
            missing = [name for name in names if name not in paths]
            if missing:
                folder = self.root / (layout.images if kind == "image" else layout.masks)
                raise DataError(
                    f"{len(missing)} of {len(names)} samples have no {kind} in {folder}: {', '.join(missing[:_SHOWN])}"
                    + (", ..." if len(missing) > _SHOWN else "")
                )
        if not names:
            raise DataError(f"{self.root / layout.images} holds no images")
        return [(f"{layout.images}/{images[name]}", f"{layout.masks}/{masks[name]}") for name in names]


def _stems(folder: Path, suffix: str) -> dict[str, str]:
    """Name without its suffix -> path, both relative to the folder and with forward slashes."""
    paths: dict[str, str] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in EXTENSIONS and path.name.endswith(suffix):
            relative = path.relative_to(folder).as_posix()
            stem = relative[: -len(suffix)] if suffix else relative[: -len(path.suffix)]
            if stem in paths:
                raise DataError(f"{folder} holds {paths[stem]} and {relative}: which of them is {stem}?")
            paths[stem] = relative
    return paths


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"there is no list of samples {path}")
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
