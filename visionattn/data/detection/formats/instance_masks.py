"""Instance masks as PNG files: one per image with a number for each object, or one per object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from visionattn.data.detection.formats.content import Content, image_files, listing
from visionattn.data.detection.formats.sizes import header_of, shown_size
from visionattn.data.detection.formats.source import BoxSource
from visionattn.data.detection.masks import encode
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.fixed_split import fixed_split
from visionattn.data.names import MASK_ENDINGS
from visionattn.data.segmentation.mask_files import LabelError, decode_mask
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import ConfigError, DataError

CLASSES = ("one", "value", "map")
_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
Instance = tuple[str, np.ndarray, bool]
"""Class, mask as bool ``(H, W)``, and whether it is a group of objects."""


class InstanceMasks(BoxSource):
    """Images with instance masks as PNG files, read as objects with boxes and masks.

    ``masks`` says where they lie; in it ``{split}`` is train, val or test, ``{image}`` the name of the image without
    its ending and ``{class}`` a folder per class:

    - ``{split}/masks``: one file per image, ``<image>.png`` or ``<image>_mask.png`` and the like, whose values are the
      numbers of objects, 0 for none;
    - ``{split}/masks/{image}``: a folder per image with one file per object, whose pixels above 0 are the object;
    - ``{split}/masks/{class}/{image}``: the same in a folder per class; ``{image}.png`` and ``{image}_<n>.png`` too.

    Where no folder is for validation, or ``images`` is one for all, a fixed share of the images is held out by their
    names.

    Values are read as they are stored, with 8 or 16 bits or a palette; a palette's colors mean nothing.

    Args:
        root: the folder.
        images: folder of the images.
        masks: place of the masks.
        classes: of files with numbers: ``one``, all objects are of one class; ``value``, a number is its class times
            ``divisor`` plus a counter (Cityscapes' instance ids), and numbers below ``divisor`` are groups of the class
            of that number, by COCO's rule for crowds; ``map``, a file of the same name in ``class_maps`` has the class
            at every pixel.
        class_names: names by number, ``{26: car}``, of ``value`` and ``map``, where other numbers are left out; a list
            names 1, 2, ...; for ``one`` a single name. Folders of classes name themselves.
        class_maps: place of the files of ``map``.
        divisor: of ``value``.
        val_fraction: of the images that are held out where nothing is for validation.
        empty_images: see :class:`BoxSource`.

    Raises:
        ConfigError: options that contradict each other.
        DataError: (on reading) a folder is missing, or no image has a mask.
    """

    def __init__(
        self,
        root: str,
        images: str = "{split}/images",
        masks: str = "{split}/masks",
        classes: str = "one",
        class_names: Mapping[int, str] | Sequence[str] | None = None,
        class_maps: str = "{split}/classes",
        divisor: int = 1000,
        val_fraction: float = 0.2,
        empty_images: bool = True,
    ) -> None:
        super().__init__(root, True, empty_images)
        self.images, self.places = images, {"masks": masks, "class_maps": class_maps}
        if classes not in CLASSES:
            raise ConfigError(f"data.source.classes must be one of {', '.join(CLASSES)}, got {classes}")
        if "{image}" in masks and classes != "one":
            raise ConfigError(f"data.source.classes={classes} needs one mask per image, but masks is {masks}")
        if classes != "one" and not class_names:
            raise ConfigError(f"data.source.classes={classes} needs class_names by number, e.g. class_names={{1: car}}")
        self.kind, self.divisor, self.val_fraction = classes, divisor, val_fraction
        names = ["object"] if class_names is None else class_names
        of_number = names.items() if isinstance(names, Mapping) else enumerate(names, 1)
        self.names = {int(number): str(name) for number, name in of_number}
        if classes == "one" and len(self.names) != 1:
            raise ConfigError(f"data.source.classes=one has one name, got {', '.join(self.names.values())}")

    @cached_property
    def divided(self) -> bool:
        """Whether images for training are held out for validation."""
        folders = [self.root / self.images.replace("{split}", name) for name in _NAMES["val"]]
        return "{split}" not in self.images or not any(folder.is_dir() for folder in folders)

    def files(self, split: str) -> list[Path]:
        if split == "test" and "{split}" not in self.images:
            return []
        folder = self._folder(self.images, split)
        files = image_files(folder) if folder is not None else []
        if folder is None or split == "test" or not self.divided:
            return files
        held = fixed_split([path.relative_to(folder).as_posix() for path in files], self.val_fraction)
        return [path for path, taken in zip(files, held == (split == "val"), strict=True) if taken]

    @cached_property
    def folders(self) -> list[str]:
        """Names of the folders of classes, of all splits; empty without ``{class}``."""
        masks = self.places["masks"]
        if "{class}" not in masks:
            return []
        found = (self._folder(masks.partition("/{class}")[0], split) for split in self.splits)
        return sorted({path.name for folder in found if folder for path in folder.iterdir() if path.is_dir()})

    def classes(self) -> list[str]:
        if "{class}" in self.places["masks"]:
            if not self.folders:
                raise DataError(f"{self.root} has no folder of a class at {self.places['masks']}; {listing(self.root)}")
            return self.folders
        return [self.names[number] for number in sorted(self.names)]

    def masked_share(self) -> MaskedShare:
        return MaskedShare(1, 1)

    def notes(self) -> list[str]:
        held = f"; {self.val_fraction:.0%} of the images, by name, are val" if self.divided else ""
        return [f"layout: instance masks at {self.places['masks']}, classes: {self.kind}{held}"]

    def read(self, split: str) -> tuple[Path, Path, Content]:
        folder, files = self._folder(self.images, split), self.files(split)
        if folder is None or not files:
            raise DataError(f"{self.root / self.images} has no image for {split}; {listing(self.root)}")
        content = Content(self.classes())
        labels = {name: label for label, name in enumerate(content.names)}
        for path in files:
            try:
                found = list(self._instances(split, path))
            except (LabelError, UnreadableImage, FileNotFoundError) as error:
                content.dropped.add("images whose mask is missing or cannot be read", f"{path}: {error}")
                continue
            size = shown_size(path)
            if {mask.shape for _, mask, _ in found} == {size[::-1]}:
                size = size[::-1]  # drawn on the image as it is stored, before its EXIF orientation
            number = content.add_image(path.relative_to(folder).as_posix(), size)
            for name, mask, group in found:
                if mask.shape != size and header_of(path) is not None:
                    height, width = mask.shape
                    where = f"{path}: {height}x{width}, the image is {size[0]}x{size[1]}"
                    content.dropped.add("masks of another size than their image", where)
                    continue
                _add(content, number, labels[name], mask, group)
        if not content.images:
            raise DataError(f"no {split} image has a mask at {self.places['masks']}; {listing(self.root)}")
        return folder, folder, content

    def _folder(self, place: str, split: str) -> Path | None:
        names = _NAMES["train" if split == "val" and self.divided else split]
        found = (self.root / place.replace("{split}", name) for name in names)
        return next((path for path in found if path.is_dir()), None)

    def _instances(self, split: str, image: Path) -> Iterator[Instance]:
        masks = self.places["masks"]
        if "{image}" not in masks:
            values = decode_mask(self._file("masks", split, image).read_bytes())
            yield from self._of_numbers(split, image, values)
            return
        for name in self.folders or self.classes():
            files = self._of_objects(masks.replace("{class}", name), split, image)
            for file in files:
                mask = decode_mask(file.read_bytes()) > 0
                if mask.any():
                    yield name, mask, False

    def _of_objects(self, place: str, split: str, image: Path) -> list[Path]:
        """Files of the objects of an image (of one class, where classes have folders)."""
        parent = self._folder(place.partition("/{image}")[0], split)
        if parent is None:
            return []
        folder = parent / image.stem / place.partition("{image}")[2].strip("/")
        if folder.is_dir():
            return sorted(folder.glob("*.png"))
        if "{class}" not in self.places["masks"]:
            raise FileNotFoundError(f"there is no folder {folder}")
        return sorted([*parent.glob(f"{image.stem}.png"), *parent.glob(f"{image.stem}_*.png")])

    def _file(self, kind: str, split: str, image: Path) -> Path:
        folder = self._folder(self.places[kind], split)
        place = folder or self.root / self.places[kind]
        files = [place / f"{image.stem}{ending}.png" for ending in MASK_ENDINGS]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"there is no {files[0]}")
        return found

    def _of_numbers(self, split: str, image: Path, values: np.ndarray) -> Iterator[Instance]:
        maps = decode_mask(self._file("class_maps", split, image).read_bytes()) if self.kind == "map" else None
        if maps is not None and maps.shape != values.shape:
            raise UnreadableImage(f"its class map is {maps.shape}, its mask {values.shape}")
        for number in np.unique(values[values > 0]).tolist():
            mask = values == number
            if self.kind == "one":
                name: str | None = self.classes()[0]
            elif maps is not None:
                name = self.names.get(int(np.bincount(maps[mask]).argmax()))
            else:
                name = self.names.get(number if number < self.divisor else number // self.divisor)
            if name is not None:
                yield name, mask, self.kind == "value" and number < self.divisor


def _add(content: Content, number: int, label: int, mask: np.ndarray, group: bool) -> None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    (runs,) = encode(mask.astype(np.uint8)[None])
    content.add_object(number, label, box, runs, float(mask.sum()), group)
