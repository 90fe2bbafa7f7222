"""Your own data: a folder of images and one of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from visionattn.data.facts import AUTO
from visionattn.data.mask_marks import masks_beside
from visionattn.data.names import IMAGE_FOLDERS, MASK_FOLDERS, SPLIT_NAMES, folders_called
from visionattn.data.segmentation.class_files import ClassFile, class_file
from visionattn.data.segmentation.classes import ClassList
from visionattn.data.segmentation.labels import IGNORE
from visionattn.data.segmentation.mask_files import ColorTable, LabelError, voc_colors
from visionattn.data.segmentation.sources.masks import MaskSource
from visionattn.data.segmentation.sources.pairs import Layout
from visionattn.data.segmentation.stored_numbers import Numbers, count_numbers, deduce
from visionattn.drawing.palette import palette_of
from visionattn.errors import ConfigError

_IMAGES, _MASKS = "{split}/images", "{split}/masks"
_FORMS = (("{{split}}/{}", "{{split}}/{}"), ("{}/{{split}}", "{}/{{split}}"))
_AFTER = (("{split}", "{split}_labels"), ("{split}", "{split}_masks"))
_BESIDE = (("{split}", "{split}"), (".", "."))
_LOOKED_AT = 8
"""Masks in which colors are looked for."""


class ImageMask(MaskSource):
    """Your own data: a folder of images and one of masks for each split.

    Where the folders of ``images`` and ``masks`` do not exist and none were given, the usual others are tried:
    ``imgs`` or ``img_dir`` with ``labels``, ``annotations`` or ``gt``, ``images/{split}`` with ``masks/{split}``,
    ``train`` with ``train_labels``, ``valid`` or ``validation`` for val; ``images`` with ``masks`` for all; and masks
    beside their images, ``a.jpg`` with ``a_mask.png`` or ``a.png``, for each split or for all. Where nothing is for
    val, a fixed fifth is held out. It is told which.

    Args:
        root: the folder.
        class_names: in label order; their number is the number of classes. ``auto``: of a file (``classes.txt``,
            ``labelmap.txt``, ``_classes.csv``, ``classes.json``), or counted in the training masks.
        images: folder of images below root; ``{split}`` stands for train, val or test; without it the folder is for
            all.
        masks: folder of masks below root; it may be that of the images.
        mask_suffix: end of a mask's name after the part it shares with its image, e.g. ``_mask.png``; ``auto``: found.
        first: stored number of the first class, 0 or 1 mostly; ``auto``: found with the names, else 0.
        numbers: stored number of every class, where they are not counted one by one; ``auto``: found.
        ignore: stored numbers that count nowhere; ``auto``: 255, unless the masks hold 0 and 255 alone; and those of
            colors that are called void or ignore.
        colors: stored number -> red, green and blue, for masks in color; ``auto``: of a file (CVAT's ``labelmap.txt``,
            ``class_dict.csv``, CamVid's ``label_colors.txt``), numbered in its order, else Pascal VOC's palette where
            every color is of it.
        val_fraction: share of the images that is val where there is one folder for all, or none for val.

    Raises:
        ConfigError: no class, or a number that is a class and ignored.
    """

    own_test = True

    def __init__(
        self,
        root: str,
        class_names: Sequence[str] | str = AUTO,
        images: str = _IMAGES,
        masks: str = _MASKS,
        mask_suffix: str = AUTO,
        first: int | str = AUTO,
        numbers: Sequence[int] | str | None = AUTO,
        ignore: Sequence[int] | str = AUTO,
        colors: Mapping[int, Sequence[int]] | str | None = AUTO,
        val_fraction: float = 0.2,
    ) -> None:
        super().__init__(root, val_fraction)
        self._colors = colors
        self._folders, self._suffix, self._ignore = (images, masks), mask_suffix, ignore
        self._given: Numbers | None = None
        if class_names != AUTO:
            self._given = _stated(class_names, first, numbers, ignore)
        elif numbers is not None and not isinstance(numbers, str):
            self._given = _stated([f"class {number}" for number in numbers], first, numbers, ignore)
        self._first = None if isinstance(first, str) else first

    @cached_property
    def found(self) -> Numbers:
        """The classes; read from a file and from training masks where they are not stated.

        Raises:
            DataError: there are no masks, or their numbers are no classes.
        """
        if self._given is not None:
            return self._given
        layout = self.layout("train")
        paths, file = [self.root / mask for _, mask in self.pairs_of(layout)[0]], self._file
        counts, read = self._counted(paths)
        nowhere = file.nowhere if file else []
        ignore = ([IGNORE, *nowhere] if nowhere else None) if self._ignore == AUTO else [int(n) for n in self._ignore]
        where = f"the {read} masks looked at in {self.root / layout.masks}"
        numbers = deduce(counts, file.names if file else None, ignore, self._first, where)
        by_name = file is not None and set(numbers.names) <= set(file.names.values())
        source = f"named in {file.path}" if file and by_name else f"found in {where}"
        note = f"{len(numbers.names)} classes {source}: stored numbers {_ranges(numbers.numbers)}"
        notes = [*numbers.notes, note]
        if file is not None and not by_name:
            others = _ranges(sorted(set(counts) - set(file.names) - set(numbers.ignore)))
            notes.append(
                f"{file.path} names the numbers {_ranges(sorted(file.names))}, and {where} hold {others} too: its "
                "names are not used; name every class in it, or in data.source.class_names"
            )
        if self._is_voc:
            notes.append(f"{where} are in color, all of Pascal VOC's palette: a color's place there is its number")
        return Numbers(numbers.numbers, numbers.names, numbers.ignore, notes)

    @property
    def _is_voc(self) -> bool:
        """Whether colors are read by Pascal VOC's palette, which nobody stated."""
        return isinstance(self._colors, str) and bool(self.colors) and not (self._file and self._file.colors)

    @cached_property
    def _file(self) -> ClassFile | None:
        return class_file(self.root)

    @cached_property
    def colors(self) -> dict[int, list[int]]:
        """Stored number -> red, green and blue; empty: masks in color cannot be read."""
        given = self._colors
        if isinstance(given, str):
            given = self._file.colors if self._file and self._file.colors else self._palette
        return {int(number): [int(value) for value in color] for number, color in (given or {}).items()}

    @cached_property
    def _palette(self) -> dict[int, tuple[int, int, int]]:
        """Pascal VOC's palette, where training masks are in color and all colors looked at are of it; else empty."""
        layout = self.layout("train")
        paths = [self.root / mask for _, mask in self.pairs_of(layout)[0]]
        try:
            count_numbers(paths, None, _LOOKED_AT)
        except LabelError as error:
            if "in color" not in str(error):
                return {}
        else:
            return {}
        try:
            count_numbers(paths, ColorTable(voc_colors()), _LOOKED_AT)
        except LabelError:
            return {}
        return voc_colors()

    def color_table(self) -> ColorTable | None:
        return ColorTable(self.colors) if self.colors else None

    def _counted(self, paths: Sequence[Path]) -> tuple[Counter[int], int]:
        """Pixels of every stored number.

        Raises:
            LabelError: a file is no mask; of one in color it says what would tell the classes.
        """
        try:
            return count_numbers(paths, self.color_table())
        except LabelError as error:
            if self.colors or "in color" not in str(error):
                raise
            raise LabelError(
                f"{error}. Colors are read where a file names them: {self.root}/labelmap.txt with a line name:r,g,b "
                "for each class (as CVAT writes it), class_dict.csv of name,r,g,b, or label_colors.txt of r g b name"
            ) from None

    def layouts(self, split: str) -> Sequence[Layout]:
        """The given folders, else the usual others too; parts of those for training where none is for validation."""
        found = self._layouts(split)
        if split == "test" or any((self.root / one.images).is_dir() for one in self._layouts("val")):
            return found
        return [replace(one, part=split) for one in self._layouts("train")]

    @cached_property
    def _usual(self) -> list[tuple[str, str]]:
        """Folders of images and of masks by their usual names, those that are there."""
        images, masks = (folders_called(self.root, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
        pairs = [(image, mask) for image in images for mask in masks if "{" not in image + mask]
        placed = [(first.format(image), second.format(mask)) for first, second in _FORMS for image, mask in pairs]
        return [*placed, *_AFTER, *pairs, *(_BESIDE if masks_beside(self.root) else ())]

    def _layouts(self, split: str) -> list[Layout]:
        patterns = [self._folders]
        if self._folders == (_IMAGES, _MASKS):
            patterns += self._usual
        found = {}
        for images, masks in patterns:
            whole = "{split}" not in images + masks
            for name in SPLIT_NAMES[split]:
                if not (whole and split == "test"):
                    folders = images.format(split=name), masks.format(split=name)
                    found[folders] = Layout(*folders, mask_suffix=self._suffix, part=split if whole else "")
        return list(found.values())

    def classes(self) -> ClassList:
        """The stated or found classes."""
        found = self.found
        return ClassList(found.names, found.numbers, palette_of(found.names))

    def ignored(self) -> Sequence[int]:
        """The stated or found numbers that count nowhere."""
        return self.found.ignore

    def filled(self) -> dict[str, object]:
        """Options of the source that ``auto`` stands for."""
        found, colors = self.found, self.colors
        if self._is_voc:
            colors = {number: colors[number] for number in sorted({*found.numbers, *found.ignore})}
        return {
            "class_names": found.names,
            "numbers": found.numbers,
            "first": found.numbers[0],
            "ignore": found.ignore,
            "mask_suffix": AUTO,
            "colors": colors or None,
        }

    def notes(self) -> list[str]:
        """How the classes were found."""
        return list(self.found.notes)


def _stated(
    class_names: Sequence[str] | str,
    first: int | str,
    numbers: Sequence[int] | str | None,
    ignore: Sequence[int] | str,
) -> Numbers:
    names = [] if isinstance(class_names, str) else [str(name) for name in class_names]
    if not names:
        raise ConfigError("class_names is empty: name the classes of the masks, in the order of their labels")
    start = 0 if first == AUTO else int(first)
    if numbers is None or isinstance(numbers, str):
        stored = list(range(start, start + len(names)))
    else:
        stored = [int(number) for number in numbers]
    if len(stored) != len(names):
        raise ConfigError(f"data.source.numbers has {len(stored)} numbers for {len(names)} class_names")
    ignored = [IGNORE] * (IGNORE not in stored) if isinstance(ignore, str) else [int(number) for number in ignore]
    clash = sorted(set(stored) & set(ignored))
    if clash:
        raise ConfigError(f"the numbers {clash} are classes (first={start}) and ignored at once")
    return Numbers(stored, names, ignored, [])


def _ranges(numbers: Sequence[int]) -> str:
    whole = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if whole and len(numbers) > 2 else ", ".join(map(str, numbers))
