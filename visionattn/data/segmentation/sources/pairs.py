"""Which mask belongs to which image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visionattn.data.facts import AUTO
from visionattn.data.folders import LeftOut, images_below, read_list, some, without_ending
from visionattn.data.names import MASK_ENDINGS, masks_among
from visionattn.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Folders of a split below the root.

    Attributes:
        images: folder of the images.
        masks: folder of the masks; that of the images where they lie beside them.
        image_suffix: end of an image's name after the part it shares with its mask.
        mask_suffix: the same of masks, in small letters or in capitals; ``auto``: an ending of a readable image, alone
            or after one of :data:`~visionattn.data.names.MASK_ENDINGS`, whichever fits most images.
        listed: a file of names, one a line; without it the folder of images is the list.
        part: ``train`` or ``val`` where the folders hold both: that part of a fixed split.
    """

    images: str
    masks: str
    image_suffix: str = ""
    mask_suffix: str = ".png"
    listed: str = ""
    part: str = ""


@dataclass
class Pairs:
    """Images with their masks.

    Attributes:
        names: what image and mask have in common, sorted.
        images: name -> path, relative to the folder of images.
        masks: name -> path, relative to the folder of masks.
        told: sentences for the user about how they were found, and what was left out.
    """

    names: list[str]
    images: dict[str, str]
    masks: dict[str, str]
    told: list[str] = field(default_factory=list)


def find_pairs(root: Path, layout: Layout) -> Pairs:
    """The images of a layout and their masks.

    Raises:
        DataError: an image has no mask, or two; a listed sample has no image; or there are no images.
    """
    told: list[str] = []
    image_files = _files(root, layout.images, told)
    if layout.images == layout.masks:
        image_files, mask_files = _apart(image_files, layout.mask_suffix)
    else:
        mask_files = _files(root, layout.masks, told)
    images = _unique(root / layout.images, [(_name(path, layout.image_suffix), path) for path in image_files])
    if layout.mask_suffix == AUTO:
        masks = _by_ending(root / layout.masks, images, mask_files, told)
    else:
        masks = _unique(root / layout.masks, [(_name(path, layout.mask_suffix), path) for path in mask_files])
    names = _listed(root / layout.listed) if layout.listed else sorted(images)
    for kind, folder, paths in (("image", layout.images, images), ("mask", layout.masks, masks)):
        missing = [name for name in names if name not in paths]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(names)} samples have no {kind} in {root / folder}: {some(missing)}"
            )
    if not names:
        raise DataError(f"{root / layout.images} holds no images{''.join(f' ({sentence})' for sentence in told)}")
    unused = sorted(set(masks) - set(images))
    if unused and not layout.listed:
        told.append(f"{len(unused)} masks in {root / layout.masks} belong to no image: {some(unused, 4)}")
    return Pairs(names, images, masks, told)


def _files(root: Path, folder: str, told: list[str]) -> list[str]:
    left_out = LeftOut()
    paths = images_below(root / folder, left_out)
    told += left_out.sentences(str(root / folder))
    return paths


def _apart(files: Sequence[str], mask_suffix: str) -> tuple[list[str], list[str]]:
    """Images and masks of one folder."""
    if mask_suffix == AUTO:
        masks = masks_among(files)
    else:
        masks = [path for path in files if path.lower().endswith(mask_suffix.lower())]
    known = set(masks)
    return [path for path in files if path not in known], masks


def _name(path: str, suffix: str) -> str | None:
    """The path without a suffix; None where it does not end with it."""
    if not suffix:
        return without_ending(path)
    return path[: -len(suffix)] if path.lower().endswith(suffix.lower()) else None


def _unique(folder: Path, named: Sequence[tuple[str | None, str]]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for name, path in named:
        if name is None:
            continue
        if name in paths:
            raise DataError(f"{folder} holds {paths[name]} and {path}: which of them is {name}?")
        paths[name] = path
    return paths


def _by_ending(folder: Path, images: dict[str, str], files: Sequence[str], told: list[str]) -> dict[str, str]:
    """Masks by the ending of their names that fits most images."""
    stems = [(without_ending(path), path) for path in files]
    fitting = {
        ending: [(stem[: len(stem) - len(ending)], path) for stem, path in stems if stem.lower().endswith(ending)]
        for ending in MASK_ENDINGS
    }
    counts = {ending: sum(name in images for name, _ in named) for ending, named in fitting.items()}
    best = max(MASK_ENDINGS, key=lambda ending: counts[ending])
    if best and counts[best]:
        told.append(f"the masks in {folder} are named <image>{best}")
    return _unique(folder, fitting[best if counts[best] else ""])


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"there is no list of samples {path}")
    return [line.split()[0] for line in read_list(path)]
