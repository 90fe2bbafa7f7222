"""ImageNet's layout: a folder (or tar file) per split, in it a folder per class, in it the images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from timm.utils.misc import natural_key

from visionattn.data.classification.sources.label_file import read_flat_labels
from visionattn.data.classification.sources.tar import TarRecords
from visionattn.data.decode import EXTENSIONS, DecodedImage, decode_rgb
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.records import Decoder, PackedStrings, Records
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError

_SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
_TREE = """expected one of these trees:
  {root}/train/<class>/<image>        {root}/train.tar (holding <class>/<image>)
  {root}/val/<class>/<image>          {root}/val.tar
or, for ImageNet's flat validation folder,
  {root}/val/<image> with {root}/LOC_val_solution.csv or a file val_labels.txt of lines "<filename> <class>"."""


class ImageFolder:
    """Labeled images in ImageNet's layout.

    A split is a folder (train, val, test, or validation and the like), a tar file of that name, or a folder of tar
    files, one per class. Classes are the folder names in natural order (n01440764 first), as in timm. Images may lie
    deeper inside their class folder. Test equals val where there is no test split, or only a flat folder of images, as
    ImageNet's, whose labels are secret.

    Args:
        root: the folder.
        val_labels: the label file of a flat val folder, relative to root; its usual names are tried without it.
        synsets: only for a label file of bare integers (the devkit's): a file whose line k starts with the class folder
            name of integer k.

    Raises:
        DataError: (on reading) another tree, with the expected and the actual one; or the class folders of train and
            val differ.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(self, root: str, val_labels: str | None = None, synsets: str | None = None) -> None:
        self.root = Path(root).expanduser()
        self.val_labels = val_labels
        self.synsets = synsets

    def open(self, split: str) -> Records:
        path = self._locate(split)
        if split == "test" and (path is None or _is_flat(path)):
            path = self._locate("val")
        if path is None:
            raise DataError(f"no {split!r} split in {self.root}; {self._explain(self.root)}")
        if path.is_file() or _tar_files(path):
            return TarRecords(path, prefix=self._relative(path))
        classes = class_folders(path)
        if classes:
            if split != "train":
                self._compare_with_train(path, classes)
            return self._read_classes(path, classes, allow_empty=split != "train")
        if split != "train" and _is_flat(path):
            return self._read_flat(path)
        raise DataError(f"{path} has no class folders; {self._explain(path)}")

    def _locate(self, split: str) -> Path | None:
        if split not in self.splits:
            raise DataError(f"an image folder has no split {split!r}, only {', '.join(self.splits)}")
        if not self.root.is_dir():
            raise DataError(f"no such folder: {self.root}; {_TREE.format(root=self.root)}")
        for name in _SYNONYMS[split]:
            for path in (self.root / name, self.root / f"{name}.tar"):
                if path.exists():
                    return path
        return None

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _explain(self, path: Path) -> str:
        return f"{_TREE.format(root=self.root)}\nfound in {path}: {_listing(path)}"

    def _compare_with_train(self, path: Path, classes: list[str]) -> None:
        train = self._locate("train")
        names = class_folders(train) if train is not None and train.is_dir() else []
        if names:
            require_same_classes(names, classes, "train", self._relative(path))

    def _read_classes(self, path: Path, classes: list[str], allow_empty: bool) -> FileRecords:
        files: list[str] = []
        labels: list[int] = []
        empty: list[str] = []
        for label, name in enumerate(classes):
            images = images_below(path / name, self.root)
            files += images
            labels += [label] * len(images)
            if not images:
                empty.append(name)
        if not files or (empty and not allow_empty):
            raise DataError(f"no images in {some(empty)} of {path} (known extensions: {', '.join(sorted(EXTENSIONS))})")
        return FileRecords(self.root, PackedStrings(files), np.array(labels, dtype=np.int64), classes)

    def _read_flat(self, path: Path) -> FileRecords:
        train = self._locate("train")
        classes = class_folders(train) if train is not None and train.is_dir() else []
        names = sorted((entry.name for entry in path.iterdir() if _is_image(entry)), key=natural_key)
        of_name = read_flat_labels(self.root, path, names, self.val_labels, self.synsets)
        classes = classes or sorted(set(of_name.values()), key=natural_key)
        unknown = sorted(set(of_name.values()) - set(classes))
        if unknown:
            raise DataError(f"the label file of {path} names classes without a folder in {train}: {some(unknown)}")
        index = {name: label for label, name in enumerate(classes)}
        labels = np.array([index[of_name[name]] for name in names], dtype=np.int64)
        prefix = self._relative(path)
        return FileRecords(self.root, PackedStrings(f"{prefix}/{name}" for name in names), labels, classes)


@dataclass
class FileRecords:
    """Images that are files; ids are their paths relative to ``root``."""

    root: Path
    ids: PackedStrings
    labels: np.ndarray
    class_names: list[str]
    decoding: Decoding = field(default=AS_STORED, kw_only=True)

    def load(self, index: int, decode: Decoder = decode_rgb) -> DecodedImage:
        return decode(self.image_bytes(index))

    def image_bytes(self, index: int) -> bytes:
        try:
            return (self.root / self.ids[index]).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"cannot be opened: {error.strerror}") from None

    def content_digest(self) -> bytes:
        return b""


def class_folders(path: Path) -> list[str]:
    """Names of the folders in ``path`` that are not hidden, in natural order."""
    names = [entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(names, key=natural_key)


def require_same_classes(first: Sequence[str], second: Sequence[str], first_name: str, second_name: str) -> None:
    """Compare the classes of two splits.

    Raises:
        DataError: only one of them has a class; the message names it.
    """
    only_first, only_second = sorted(set(first) - set(second)), sorted(set(second) - set(first))
    if only_first or only_second:
        differences = [f"only in {first_name}: {some(only_first)}"] if only_first else []
        differences += [f"only in {second_name}: {some(only_second)}"] if only_second else []
        raise DataError(f"the class folders of {first_name} and {second_name} differ; {'; '.join(differences)}")


def images_below(folder: Path, root: Path) -> list[str]:
    """Paths of all images below ``folder``, relative to ``root``, in natural order."""
    paths = []
    for base, _, names in os.walk(folder, followlinks=True):
        prefix = Path(base).relative_to(root).as_posix()
        paths += [f"{prefix}/{name}" for name in names if os.path.splitext(name)[1].lower() in EXTENSIONS]
    return sorted(paths, key=natural_key)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def _is_flat(path: Path) -> bool:
    return path.is_dir() and not class_folders(path) and any(_is_image(entry) for entry in path.iterdir())


def _tar_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.tar"))


def some(names: Sequence[str], shown: int = 8) -> str:
    """The first names, and how many more there are, as text."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _listing(path: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    return some(names) if names else "nothing"
