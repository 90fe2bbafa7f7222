"""Conversion of a data set: read, say what is lost, write, all or nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from visionattn.data.detection.convert import to_coco, to_voc, to_yolo
from visionattn.data.detection.convert.content import Conversion, Picture, read_conversion
from visionattn.data.detection.sources import CocoRecords
from visionattn.errors import ConfigError, DataError
from visionattn.files import whole_folder

WRITERS: dict[str, ModuleType] = {"coco": to_coco, "yolo": to_yolo, "voc": to_voc}
IMAGES = ("copy", "link")


def check_folder(folder: Path) -> None:
    """Check that a data set can be written there.

    Raises:
        ConfigError: the folder holds something, or is a file.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"dir={folder} holds something already, and nothing is overwritten; give a new folder")


def read_splits(open_split: Callable[[str], CocoRecords], splits: Sequence[str]) -> Conversion:
    """Read the splits of a data set.

    Raises:
        DataError: one of them cannot be read, or there is none.
    """
    if not splits:
        raise DataError("there is no split to convert")
    return read_conversion({split: open_split(split) for split in splits})


def plan(made: Conversion, to: str) -> dict[str, str]:
    """Every file but the images, as path below the new folder -> text; ``made.losses`` has what does not fit.

    Args:
        made: the data set.
        to: ``coco``, ``yolo`` or ``voc``.

    Raises:
        DataError: two images would share a file.
    """
    texts: dict[str, str] = WRITERS[to].files(made)
    return texts


def write(made: Conversion, texts: dict[str, str], to: str, folder: Path, images: str) -> None:
    """Write a data set in another format, beside the folder first, so that a failure leaves nothing.

    Args:
        made: the data set.
        texts: of :func:`plan`.
        to: ``coco``, ``yolo`` or ``voc``.
        folder: new or empty.
        images: ``copy``, or ``link`` for symbolic links to the files.

    Raises:
        ConfigError: the folder holds something.
    """
    check_folder(folder)
    with whole_folder(folder) as beside:
        for path, text in texts.items():
            _parent(beside / path).write_text(text, encoding="utf-8")
        for split, pictures in made.splits.items():
            for picture, path in zip(pictures, WRITERS[to].image_paths(made, split), strict=True):
                _place(picture, _parent(beside / path), images)


def in_words(found: Counter[str]) -> list[str]:
    """Losses as lines, the most frequent first."""
    return [f"{count:,} {reason}" for reason, count in found.most_common()]


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _place(picture: Picture, path: Path, images: str) -> None:
    if images == "link":
        path.symlink_to(picture.file.resolve())
    else:
        shutil.copyfile(picture.file, path)
