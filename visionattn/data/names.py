"""Names of files, folders and columns that data sets have; read without importing what reads the data."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

EXTENSIONS = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".pjpeg",
        ".pjp",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".avif",
    }
)
"""Endings of readable images."""
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""The names that folders of a split have."""
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annotation", "ann_dir", "gt")
"""The names that folders of images, and of their masks, have; in small letters, the likeliest first."""
FILE_COLUMNS = (
    "file",
    "filename",
    "file_name",
    "image",
    "image_path",
    "path",
    "filepath",
    "image_id",
    "imageid",
    "id",
    "img",
)
LABEL_COLUMNS = ("label", "class", "category", "target", "labels", "class_name", "labelname", "y")
"""Usual names of the columns of a table of labels, in small letters: image files, and the class of each."""
MASK_ENDINGS = (
    "",
    "_mask",
    "-mask",
    "_masks",
    ".mask",
    "_l",
    "_label",
    "_labels",
    "_gt",
    "_seg",
    "_segmentation",
    "_annotation",
)
"""What may follow the image's name in that of its mask, before the ending of the file; in small letters."""
_LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".webp"})
_NOT_DATA = frozenset({"@eadir", "__macosx", "__pycache__", "lost+found", "$recycle.bin", "#recycle"})


def folders_called(root: str | os.PathLike[str], names: Sequence[str]) -> list[str]:
    """Folders in a folder, or in its folders of splits, of some names in small letters or capitals, in their order."""
    splits = [entry for entry in _folders(root) if any(entry.lower() in one for one in SPLIT_NAMES.values())]
    found = {entry for place in ("", *splits) for entry in _folders(os.path.join(root, place))}
    return [entry for name in names for entry in sorted(found) if entry.lower() == name]


def _folders(root: str | os.PathLike[str]) -> list[str]:
    return [entry.name for entry in os.scandir(root) if entry.is_dir()] if os.path.isdir(root) else []


def is_visible(name: str) -> bool:
    """Whether a file or folder can belong to a data set: not hidden (``.cache``), and not left by a system or a server.

    Those are ``@eaDir``, ``__MACOSX``, ``__pycache__``, ``lost+found`` and recycle bins.
    """
    return not name.startswith(".") and name.lower() not in _NOT_DATA


def is_image(name: str) -> bool:
    """Whether a file's name ends like that of a readable image, in small letters or in capitals."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def masks_among(paths: Sequence[str]) -> list[str]:
    """The files that are masks of others beside them; empty: none are.

    They are named as their image with one of :data:`MASK_ENDINGS` behind it, or as their image alone where that is a
    JPEG or WebP file and they are not: whichever gives most images a mask of their own, and at least half of them. A
    single ``x_l.png`` beside ``x.png`` in a folder of others is no mask.

    Args:
        paths: of all images and masks, with forward slashes.
    """
    parted = [(path, *os.path.splitext(path)) for path in paths]
    stems = {stem for _, stem, _ in parted}
    lossy = {stem for _, stem, kind in parted if kind.lower() in _LOSSY}
    best, most = list[str](), 0
    for ending in (*MASK_ENDINGS[1:], ""):
        if ending:
            ended = [(path, stem[: -len(ending)]) for path, stem, _ in parted if stem.lower().endswith(ending)]
            masks = {path: name for path, name in ended if name in stems}
        else:
            masks = {path: stem for path, stem, kind in parted if stem in lossy and kind.lower() not in _LOSSY}
        images = Counter(stem for path, stem, _ in parted if path not in masks)
        owners = Counter(masks.values())
        fit = sum(images[name] == count == 1 for name, count in owners.items())
        if fit > most and 2 * fit >= images.total():
            best, most = list(masks), fit
    return best
