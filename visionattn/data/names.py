"""Names of files, folders and columns that data sets have; read without importing what reads the data."""

from __future__ import annotations

import os

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
_NOT_DATA = frozenset({"@eadir", "__macosx", "__pycache__", "lost+found", "$recycle.bin", "#recycle"})


def is_visible(name: str) -> bool:
    """Whether a file or folder can belong to a data set: not hidden (``.cache``), and not left by a system or a server.

    Those are ``@eaDir``, ``__MACOSX``, ``__pycache__``, ``lost+found`` and recycle bins.
    """
    return not name.startswith(".") and name.lower() not in _NOT_DATA


def is_image(name: str) -> bool:
    """Whether a file's name ends like that of a readable image, in small letters or in capitals."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS
