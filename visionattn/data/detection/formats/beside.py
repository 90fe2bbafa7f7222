"""Images with a file of labels each: beside them, or in a folder beside theirs; in folders of splits, or in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from visionattn.data.detection.formats.content import image_files
from visionattn.data.fixed_split import fixed_split

Pair = tuple[Path, Path | None]
"""An image and its file of labels; None: it has none."""
FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
LABELS = ("Annotations", "annotations", "xmls", "labels", ".")
IMAGES = ("JPEGImages", "images", "Images", ".")


def label_files(folder: Path, ending: str) -> list[Path]:
    """Files with an ending, from the first of the usual places below a folder that has any."""
    for name in LABELS:
        found = sorted((folder / name).glob(f"*{ending}")) if (folder / name).is_dir() else []
        if found:
            return found
    return []


def pairs_in(folder: Path, ending: str, image_of: Callable[[Path], str]) -> list[Pair]:
    """Every file of labels with its image, and the images without such a file, in the order of the images' names.

    Args:
        folder: to look in.
        ending: of the files of labels.
        image_of: the image's name that such a file states, for those beside which none has its name; it may be empty.
    """
    images = {path.stem: path for place in IMAGES if (folder / place).is_dir() for path in image_files(folder / place)}
    files = {path.stem: path for path in label_files(folder, ending)}
    named = {stem: folder / (image_of(files[stem]) or f"{stem}.jpg") for stem in files.keys() - images.keys()}
    pairs: list[Pair] = [(path, files.get(stem)) for stem, path in images.items()]
    known = set(images.values())
    pairs += [(path, files[stem]) for stem, path in named.items() if path not in known]
    return sorted(pairs, key=lambda pair: str(pair[0]))


def folder_of(base: Path, split: str) -> Path | None:
    """The folder of a split; None: there is none."""
    return next((base / name for name in FOLDERS[split] if (base / name).is_dir()), None)


def share_of(base: Path, pairs: Sequence[Pair], split: str, val_fraction: float) -> list[Pair]:
    """The part of a split where one folder has all images: a fixed share is val, none is test."""
    if split == "test":
        return []
    held = fixed_split([image.relative_to(base).as_posix() for image, _ in pairs], val_fraction)
    wanted = np.flatnonzero(held if split == "val" else ~held)
    return [pairs[index] for index in wanted.tolist()]
