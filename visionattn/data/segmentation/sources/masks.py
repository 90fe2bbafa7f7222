"""Images with label maps in two folders: what the layouts of all data sets share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from visionattn.data.decode import EXTENSIONS, DecodedImage, decode_rgb
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.segmentation.classes import ClassList
from visionattn.data.segmentation.labels import IGNORE, LabelError, LabelTable, decode_mask
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

_SHOWN = 8


class MaskRecords:
    """One split: pictures with their label maps, by index. The id of a sample is its picture's path below the root,
    without the extension.
    """

    def __init__(self, root: Path, pairs: Sequence[tuple[str, str]], classes: ClassList, table: LabelTable) -> None:
        self.root, self.classes, self.table = root, classes, table
        self._images = PackedStrings(image for image, _ in pairs)
        self._masks = PackedStrings(mask for _, mask in pairs)
        self.ids = PackedStrings(str(Path(image).with_suffix("")) for image, _ in pairs)

    @property
    def class_names(self) -> list[str]:
        return self.classes.names

    def load(self, index: int, decode: Decoder = decode_rgb) -> tuple[DecodedImage, np.ndarray]:
        """The picture, and its classes as uint8 (H, W). Raises UnreadableImage, or LabelError naming the mask."""
        picture = decode((self.root / self._images[index]).read_bytes())
        classes = self.table(self.stored(index), str(self.mask_path(index)))
        size = tuple(picture.shape[-2:]) if isinstance(picture, Tensor) else (picture.height, picture.width)
        if classes.shape != size:
            raise UnreadableImage(
                f"its mask has {classes.shape[0]}x{classes.shape[1]} pixels, it has {size[0]}x{size[1]}"
            )
        return picture, classes

    def stored(self, index: int) -> np.ndarray:
        """The mask's numbers as they are stored. Raises UnreadableImage, or LabelError naming the mask."""
        try:
            return decode_mask(self.mask_path(index).read_bytes())
        except UnreadableImage as error:
            raise UnreadableImage(f"its mask cannot be read: {error}") from None
        except LabelError as error:
            raise LabelError(f"{self.mask_path(index)}: {error}") from None

    def image_path(self, index: int) -> Path:
        return self.root / self._images[index]

    def mask_path(self, index: int) -> Path:
        return self.root / self._masks[index]

    def fingerprint(self) -> str:
        """sha256 over the ordered ids and the sizes of the mask files, hexadecimal."""
        digest = hashlib.sha256()
        for index, sample_id in enumerate(self.ids):
            digest.update(f"{sample_id}\t{self.mask_path(index).stat().st_size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Place:
    """Where a split lies below the root. listed: a file of names, one a line; without it the pictures' folder is the
    list. image_suffix, mask_suffix: the ends of the file names, which differ, and all after the common part.
    """

    images: str
    masks: str
    image_suffix: str = ""
    mask_suffix: str = ".png"
    listed: str = ""


class MaskSource:
    """Pictures and masks below `root`. A layout says where (`places` of train and val; the first that exists counts),
    which classes there are (`classes`), and what else a mask may hold (`ignored`).

    Reading raises DataError where the folders are missing or a picture has no mask, naming it.
    """

    splits: Sequence[str] = ("train", "val", "test")
    folders: Sequence[str] = ("",)

    def __init__(self, root: str) -> None:
        given = Path(root).expanduser()
        self.root = next((given / name for name in self.folders if (given / name).is_dir()), given)

    def classes(self) -> ClassList:
        raise NotImplementedError

    def places(self, split: str) -> Sequence[Place]:
        raise NotImplementedError

    def ignored(self) -> Sequence[int]:
        """Stored numbers that count nowhere."""
        return (IGNORE,)

    def table(self) -> LabelTable:
        return LabelTable(self.classes().numbers, self.ignored())

    def open(self, split: str) -> MaskRecords:
        if split not in self.splits:
            raise DataError(f"{type(self).__name__} has no split {split!r}, only {', '.join(self.splits)}")
        choices = self.places("val" if split == "test" else split)
        present = [place for place in choices if (self.root / place.images).is_dir()]
        if not present:
            tried = " or ".join(str(self.root / place.images) for place in choices)
            raise DataError(f"there is no folder of {split} images: {tried}")
        place = next((place for place in present if (self.root / place.masks).is_dir()), None)
        if place is None:
            tried = " or ".join(str(self.root / place.masks) for place in present)
            raise DataError(f"the {split} images have no masks: there is no folder {tried}")
        return MaskRecords(self.root, self._pairs(place), self.classes(), self.table())

    def _pairs(self, place: Place) -> list[tuple[str, str]]:
        images, masks = (
            _stems(self.root / place.images, place.image_suffix),
            _stems(self.root / place.masks, place.mask_suffix),
        )
        names = sorted(images) if not place.listed else _listed(self.root / place.listed)
        for kind, found in (("image", images), ("mask", masks)):
            missing = [name for name in names if name not in found]
            if missing:
                folder = self.root / (place.images if kind == "image" else place.masks)
                raise DataError(
                    f"{len(missing)} of {len(names)} samples have no {kind} in {folder}: {', '.join(missing[:_SHOWN])}"
                    + (", ..." if len(missing) > _SHOWN else "")
                )
        if not names:
            raise DataError(f"{self.root / place.images} holds no images")
        return [(f"{place.images}/{images[name]}", f"{place.masks}/{masks[name]}") for name in names]


def _stems(folder: Path, suffix: str) -> dict[str, str]:
    """Name without its suffix -> path, both relative to the folder and with forward slashes."""
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        if path.suffix.lower() in EXTENSIONS and path.name.endswith(suffix):
            relative = path.relative_to(folder).as_posix()
            stem = relative[: -len(suffix)] if suffix else relative[: -len(path.suffix)]
            if stem in found:
                raise DataError(f"{folder} holds {found[stem]} and {relative}: which of them is {stem}?")
            found[stem] = relative
    return found


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"there is no list of samples {path}")
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
