"""Where pictures and their label maps lie: the layouts of the published data sets, and a plain pair of folders."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from visionattn.data.decode import EXTENSIONS, Picture, decode_rgb
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.segmentation.classes import ClassList, numbered, packaged, read_object_info
from visionattn.data.segmentation.labels import IGNORE, LabelError, LabelTable, decode_mask
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError

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

    def load(self, index: int, decode: Decoder = decode_rgb) -> tuple[Picture, np.ndarray]:
        """The picture, and its classes as uint8 (H, W). Raises UnreadableImage, or LabelError naming the mask."""
        picture = decode((self.root / self._images[index]).read_bytes())
        classes = self.table(self.stored(index), str(self.mask(index)))
        size = tuple(picture.shape[-2:]) if isinstance(picture, Tensor) else (picture.height, picture.width)
        if classes.shape != size:
            raise UnreadableImage(
                f"its mask has {classes.shape[0]}x{classes.shape[1]} pixels, it has {size[0]}x{size[1]}"
            )
        return picture, classes

    def stored(self, index: int) -> np.ndarray:
        """The mask's numbers as they are stored. Raises UnreadableImage, or LabelError naming the mask."""
        try:
            return decode_mask(self.mask(index).read_bytes())
        except UnreadableImage as error:
            raise UnreadableImage(f"its mask cannot be read: {error}") from None
        except LabelError as error:
            raise LabelError(f"{self.mask(index)}: {error}") from None

    def image(self, index: int) -> Path:
        return self.root / self._images[index]

    def mask(self, index: int) -> Path:
        return self.root / self._masks[index]

    def fingerprint(self) -> str:
        """sha256 over the ordered ids and the sizes of the mask files, hexadecimal."""
        digest = hashlib.sha256()
        for index, sample_id in enumerate(self.ids):
            digest.update(f"{sample_id}\t{self.mask(index).stat().st_size}\n".encode())
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


class ADE20K(MaskSource):
    """ADE20K's scene-parsing benchmark (Zhou et al. 2017), ADEChallengeData2016: images and annotations, 150 classes.

    0 in a mask is "other" and ignored; 1..150 are the classes. The list of classes is read from objectInfo150.txt where
    it is there; its shares of pixels tell whether masks are shifted.
    """

    folders = ("ADEChallengeData2016", "")

    def places(self, split: str) -> Sequence[Place]:
        folder = {"train": "training", "val": "validation"}[split]
        return [Place(f"images/{folder}", f"annotations/{folder}")]

    def classes(self) -> ClassList:
        table = self.root / "objectInfo150.txt"
        return read_object_info(table) if table.is_file() else packaged("ade20k")

    def ignored(self) -> Sequence[int]:
        return (0,)


class Cityscapes(MaskSource):
    """Cityscapes (Cordts et al. 2016): leftImg8bit and gtFine, 19 of the 34 labels are evaluated.

    Read are `*_gtFine_labelIds.png`, which the download holds; the other labels are ignored.
    """

    def places(self, split: str) -> Sequence[Place]:
        return [Place(f"leftImg8bit/{split}", f"gtFine/{split}", "_leftImg8bit.png", "_gtFine_labelIds.png")]

    def classes(self) -> ClassList:
        return packaged("cityscapes")

    def ignored(self) -> Sequence[int]:
        return (*range(34), IGNORE)


class PascalVOC(MaskSource):
    """Pascal VOC 2012 (Everingham et al. 2015): 20 classes and the background; 255 is the border.

    train_list: the list of training samples; with `trainaug` (Hariharan et al. 2011) the masks are taken from
    SegmentationClassAug.
    """

    folders = ("VOCdevkit/VOC2012", "VOC2012", "")

    def __init__(self, root: str, train_list: str = "train") -> None:
        super().__init__(root)
        self.train_list = train_list

    def places(self, split: str) -> Sequence[Place]:
        name = self.train_list if split == "train" else split
        masks = "SegmentationClassAug" if name == "trainaug" else "SegmentationClass"
        return [Place("JPEGImages", masks, listed=f"ImageSets/Segmentation/{name}.txt")]

    def classes(self) -> ClassList:
        return packaged("pascal_voc")


class PascalContext(MaskSource):
    """Pascal Context (Mottaghi et al. 2014) with its 59 usual classes; 0 is the background, ignored.

    Masks are PNG files in SegmentationClassContext, as the tools around the data set write them.
    """

    folders = ("VOCdevkit/VOC2010", "VOC2010", "")

    def places(self, split: str) -> Sequence[Place]:
        return [Place("JPEGImages", "SegmentationClassContext", listed=f"ImageSets/SegmentationContext/{split}.txt")]

    def classes(self) -> ClassList:
        return packaged("pascal_context")

    def ignored(self) -> Sequence[int]:
        return (0, IGNORE)


class COCOStuff(MaskSource):
    """COCO-Stuff 164k (Caesar et al. 2016): stuffthingmaps, 171 of 182 numbers are used; 255 is unlabelled."""

    def places(self, split: str) -> Sequence[Place]:
        folders = (("images/", "annotations"), ("images/", "stuffthingmaps"), ("", "stuffthingmaps"))
        return [Place(f"{images}{split}2017", f"{masks}/{split}2017") for images, masks in folders]

    def classes(self) -> ClassList:
        return packaged("coco_stuff")


class ImageMask(MaskSource):
    """Your own data: a folder of images and one of masks for each split.

    images, masks: folders below root; `{split}` stands for the split's folder (train, val).
    class_names: names in the order of their labels; their number is the number of classes.
    first: what stands for the first class in a mask, 0 or 1 mostly. ignore: numbers that count nowhere.
    mask_suffix: the end of a mask's name after the part it shares with its image, e.g. `_mask.png`.
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str],
        images: str = "{split}/images",
        masks: str = "{split}/masks",
        mask_suffix: str = ".png",
        first: int = 0,
        ignore: Sequence[int] = (IGNORE,),
    ) -> None:
        super().__init__(root)
        if not class_names:
            raise ConfigError("class_names is empty: name the classes of the masks, in the order of their labels")
        self._classes, self._ignored = numbered(class_names, first), tuple(ignore)
        clash = sorted(set(self._classes.numbers) & set(self._ignored))
        if clash:
            raise ConfigError(f"the numbers {clash} are classes (first={first}) and ignored at once")
        self._folders, self._suffix = (images, masks), mask_suffix

    def places(self, split: str) -> Sequence[Place]:
        images, masks = (folder.format(split=split) for folder in self._folders)
        return [Place(images, masks, mask_suffix=self._suffix)]

    def classes(self) -> ClassList:
        return self._classes

    def ignored(self) -> Sequence[int]:
        return self._ignored
