"""The marks of layouts whose labels are masks: of classes, and of objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from pathlib import Path

from visionattn.data.layout_marks import Mark, files_ending, folder_of_split, folders_in, has_images
from visionattn.data.names import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLIT_NAMES,
    folders_called,
    is_image,
    is_visible,
    masks_among,
)

_OBJECT_IMAGES, _INSTANCES = (*IMAGE_FOLDERS, "JPEGImages", "PNGImages"), ("instances", "instance_masks")
_FOLDERS = 8
"""Folders and masks that are looked at."""


def pascal_masks(root: Path) -> list[Mark]:
    """Pascal VOC's class maps, and those of other classes in its layout."""
    for base in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if not (base / "SegmentationClass").is_dir():
            continue
        if (base / "labelmap.txt").is_file() and has_images(base / "JPEGImages"):
            keys = {"source.images": "JPEGImages", "source.masks": "SegmentationClass"}
            why = "masks in SegmentationClass with a labelmap.txt, as CVAT writes them"
            return [Mark("image_mask", "segmentation", why, base, keys)]
        if (base / "ImageSets" / "Segmentation").is_dir():
            return [Mark("pascal_voc", "segmentation", "Pascal VOC's masks in SegmentationClass", root)]
    return []


def _named_sets(root: Path) -> list[Mark]:
    """ADE20K and Cityscapes, whose classes have numbers of their own."""
    if (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        return [Mark("cityscapes", "segmentation", "Cityscapes' leftImg8bit and gtFine", root)]
    for base in (root / "ADEChallengeData2016", root):
        if (base / "objectInfo150.txt").is_file() and (base / "annotations").is_dir():
            why, own = "ADE20K's objectInfo150.txt, which names the classes", {"num_classes": "auto"}
            return [Mark("ade20k", "segmentation", why, root, own)]
    return []


def mask_folders(root: Path) -> list[Mark]:
    """The first that a folder shows of: a set whose classes have numbers of their own, masks of objects, of classes."""
    return next((marks for probe in (_named_sets, _object_masks, _paired_folders) if (marks := probe(root))), [])


def _paired_folders(root: Path) -> list[Mark]:
    """A folder of images beside one of masks, for each split or for all."""
    for images, masks in _paired(root):
        if has_images(images, 2) and has_images(masks, 2) and not files_ending(masks, ".txt"):
            folders = f"{images.relative_to(root)} and {masks.relative_to(root)}"
            return [Mark("image_mask", "segmentation", f"images and masks in {folders}", root)]
    return []


def masks_beside(root: Path) -> list[Mark]:
    """Masks in the folder of their images, of each split or of all: ``a.jpg`` with ``a_mask.png`` or ``a.png``."""
    folder = folder_of_split(root, "train") or root
    inner = [f"{one.name}/{name}" for one in folders_in(folder)[:_FOLDERS] for name in _image_names(one)]
    for names in (_image_names(folder), inner):
        masks = masks_among(names)
        if len(masks) < 0.8 * (len(names) - len(masks)) or not masks:
            continue
        stems = {os.path.splitext(name)[0] for name in set(names) - set(masks)}
        alike = os.path.splitext(masks[0])[0] in stems
        if not alike or all(_one_channel(folder / name) for name in masks[:_FOLDERS]):
            where = "" if folder == root else f" in {folder.name}"
            return [Mark("image_mask", "segmentation", f"masks beside their images{where}, {masks[0]}", root)]
    return []


def _object_masks(root: Path) -> list[Mark]:
    """Masks of objects: a file for each in a folder of its image, or of its class; or folders named ``instances``."""
    for images, masks in _object_places(root):
        shown = {os.path.splitext(name)[0] for name in _image_names(root / images)}
        inner = _of_objects(root / masks, shown) if shown and (root / masks).is_dir() else None
        if inner is not None:
            place, keys = f"{masks}{inner}", {"images": images, "masks": f"{masks}{inner}"}
            split = next((part for part in Path(images).parts if part.lower() in SPLIT_NAMES["train"]), None)
            if split is not None:
                keys = {name: value.replace(split, "{split}", 1) for name, value in keys.items()}
            stated = {f"source.{name}": value for name, value in keys.items()}
            return [Mark("instance_masks", "detection", f"masks of objects in {place}", root, stated)]
    return []


def _object_places(root: Path) -> Iterator[tuple[str, str]]:
    """Folders of images, and where masks of their objects may lie."""
    places = ["{}", *(place.format(name) for place in ("{}/{{}}", "{{}}/{}") for name in SPLIT_NAMES["train"])]
    for images in _OBJECT_IMAGES:
        for place in places:
            if (root / place.format(images)).is_dir():
                yield from ((place.format(images), place.format(masks)) for masks in (*_INSTANCES, *MASK_FOLDERS))


def _of_objects(folder: Path, shown: Set[str]) -> str | None:
    """What follows the folder in the place of an object's mask; None: they are no masks of objects.

    Args:
        folder: of the masks.
        shown: names of the images, without their endings.
    """
    inner = folders_in(folder)[:_FOLDERS]
    if not inner:
        return "" if folder.name in _INSTANCES or folder.parent.name in _INSTANCES else None
    if all(one.name in shown and _image_names(one) for one in inner):
        return "/{image}"
    of_classes = all(_named_by(one, shown) for one in inner)
    return "/{class}/{image}" if of_classes else None


def _named_by(folder: Path, shown: Set[str]) -> bool:
    """Whether a folder holds folders or files with the names of images, perhaps with a number behind them."""
    names = {one.name for one in folders_in(folder)} | {os.path.splitext(name)[0] for name in _image_names(folder)}
    return bool(names) and all(name in shown or name.rpartition("_")[0] in shown for name in names)


def _image_names(folder: Path) -> list[str]:
    """Images directly in a folder; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if is_visible(entry.name) and is_image(entry.name))


def _one_channel(path: Path) -> bool:
    """Whether a file is a PNG of gray or of a palette, as masks are and photographs are not."""
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(b"\x89PNG") and head[25:] in (b"\x00", b"\x03")


def _paired(root: Path) -> Iterator[tuple[Path, Path]]:
    split = folder_of_split(root, "train")
    for base in (root, *([split] if split else [])):
        for images in folders_called(root, IMAGE_FOLDERS):
            for masks in folders_called(root, MASK_FOLDERS):
                yield base / images, base / masks
    if split:
        yield from ((split, root / f"{split.name}_{masks}") for masks in ("labels", "masks"))
