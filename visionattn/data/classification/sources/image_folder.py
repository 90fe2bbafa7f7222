"""ImageNet's layout: a folder (or tar file) per split, in it a folder per class, in it the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from timm.utils.misc import natural_key

from visionattn.data.classification.sources.image_tree import (
    ImageTree,
    Place,
    has_classes,
    images_in,
    is_flat,
    tar_files,
)
from visionattn.data.classification.sources.label_file import read_flat_labels
from visionattn.data.classification.sources.tar import TarRecords
from visionattn.data.decode import DecodedImage, decode_rgb
from visionattn.data.decoding import AS_STORED, Decoding
from visionattn.data.facts import DataFacts
from visionattn.data.fixed_split import fixed_split
from visionattn.data.folders import LeftOut, images_below, some, visible_folders
from visionattn.data.names import EXTENSIONS
from visionattn.data.records import Decoder, PackedStrings
from visionattn.data.survey import survey
from visionattn.data.unreadable import UnreadableImage
from visionattn.errors import DataError


class ImageFolder:
    """Labeled images in ImageNet's layout.

    A split is a folder (train, val, test, or validation and the like), a tar file of that name, or a folder of tar
    files, one per class. Classes are the folder names of train in natural order (n01440764 first), as in timm; other
    splits are matched by name, and may lack some. Images may lie deeper inside their class folder. Hidden entries and
    files of other kinds are left out, see :mod:`visionattn.data.folders`. Test equals val where there is no test split,
    or only a flat folder of images, as ImageNet's, whose labels are secret. Without a val, test is validated on. Of a
    folder of classes without splits a fixed share of each class is.

    Args:
        root: the folder.
        val_labels: the label file of a flat val folder, relative to root; its usual names are tried without it.
        synsets: only for a label file of bare integers (the devkit's): a file whose line k starts with the class folder
            name of integer k.
        val_fraction: share of each class that is val where no split is; a function of the images' names alone.

    Raises:
        DataError: (on reading) another tree, with the expected and the actual one; or val has a class that train lacks.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(
        self, root: str, val_labels: str | None = None, synsets: str | None = None, val_fraction: float = 0.2
    ) -> None:
        self.root = Path(root).expanduser()
        self.val_labels = val_labels
        self.synsets = synsets
        self.val_fraction = val_fraction
        self.tree = ImageTree(self.root)

    def open(self, split: str) -> FileRecords | TarRecords:
        """Read one split."""
        if split not in self.splits:
            raise DataError(f"an image folder has no split {split!r}, only {', '.join(self.splits)}")
        place = self.tree.place(split)
        path = place.path
        tars = [] if has_classes(path) else tar_files(path)
        if path.is_file() or tars:
            return TarRecords(path, prefix=self._relative(path))
        if visible_folders(path):
            return self._read_classes(place, split)
        if split != "train" and is_flat(path):
            return self._read_flat(path)
        raise DataError(f"{path} has no class folders; {self.tree.explain(path)}")

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _classes(self) -> list[str]:
        """The class folders of train; empty where there are none."""
        train = self.tree.located("train")
        return visible_folders(train.path) if train is not None and train.path.is_dir() else []

    def _read_classes(self, place: Place, split: str) -> FileRecords:
        path, left_out, told = place.path, LeftOut(), list(place.told)
        here = visible_folders(path, left_out)
        classes = here if place.part else self._classes() or here
        told += match_classes(classes, here, "train", self._relative(path))
        files: list[str] = []
        labels: list[int] = []
        empty: list[str] = []
        for label, name in enumerate(classes):
            images = images_below(path / name, left_out, self.root) if name in here else []
            chosen = self._part(images, place.part)
            files += chosen
            labels += [label] * len(chosen)
            if name in here and not images:
                empty.append(name)
        if not files or (empty and split == "train"):
            others = "".join(f"; {sentence}" for sentence in left_out.sentences(str(path)))
            known = ", ".join(sorted(EXTENSIONS))
            raise DataError(f"no images in {some(empty)} of {path} (known extensions: {known}){others}")
        told += [f"no images in {some(empty)} of {path}"] if empty else []
        beside, tars = images_in(path), tar_files(path)
        told += [f"left out: {len(beside)} images beside the class folders of {path}"] if beside else []
        told += [f"left out: {len(tars)} tar files beside the class folders of {path}"] if tars else []
        told += left_out.sentences(str(path))
        return FileRecords(self.root, PackedStrings(files), np.array(labels, dtype=np.int64), classes, told=told)

    def _part(self, images: list[str], part: str) -> list[str]:
        """The images of a part of a fixed split; of one class, so that each class is in both parts."""
        if not part or not images:
            return images
        held = fixed_split(images, self.val_fraction)
        return [name for name, val in zip(images, held, strict=True) if val == (part == "val")]

    def _read_flat(self, path: Path) -> FileRecords:
        classes = self._classes()
        names = sorted(images_in(path), key=natural_key)
        of_name = read_flat_labels(self.root, path, names, self.val_labels, self.synsets)
        classes = classes or sorted(set(of_name.values()), key=natural_key)
        unknown = sorted(set(of_name.values()) - set(classes))
        if unknown:
            train = self.root / "train"
            raise DataError(f"the label file of {path} names classes without a folder in {train}: {some(unknown)}")
        index = {name: label for label, name in enumerate(classes)}
        labels = np.array([index[of_name[name]] for name in names], dtype=np.int64)
        prefix = self._relative(path)
        return FileRecords(self.root, PackedStrings(f"{prefix}/{name}" for name in names), labels, classes)

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about the data; see :class:`visionattn.data.facts.Inspectable`."""
        given = {name: value for name, value in options.items() if not name.startswith("_") and name != "root"}
        source = cls(str(root), **given)
        train, val = source.open("train"), source.open("val")
        counts = {"train": len(train.ids), "val": len(val.ids)}
        notes = dict.fromkeys([*train.told, *val.told])
        found = survey(train.image_bytes, len(train.ids))
        return DataFacts(
            num_classes=len(train.class_names),
            class_names=tuple(train.class_names),
            image_size=found.typical_size,
            images=counts,
            notes=(*notes, *found.notes),
            in_chans=found.channels,
            value_range=found.value_range,
        )


@dataclass
class FileRecords:
    """Images that are files; ids are their paths relative to ``root``.

    Attributes:
        root: folder of the data set.
        ids: of the samples.
        labels: int64 ``(num_samples,)``.
        class_names: in label order.
        decoding: how the files become images.
        told: sentences for the user about what was read.
    """

    root: Path
    ids: PackedStrings
    labels: np.ndarray
    class_names: list[str]
    decoding: Decoding = field(default=AS_STORED, kw_only=True)
    told: Sequence[str] = field(default=(), kw_only=True)

    def load(self, index: int, decode: Decoder = decode_rgb) -> DecodedImage:
        return decode(self.image_bytes(index))

    def image_bytes(self, index: int) -> bytes:
        try:
            return (self.root / self.ids[index]).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"cannot be opened: {error.strerror}") from None

    def content_digest(self) -> bytes:
        return b""


def match_classes(train: Sequence[str], other: Sequence[str], train_name: str, other_name: str) -> list[str]:
    """Compare the class folders of a split with those of train; classes are matched by their names.

    Returns:
        A sentence for the user where the other split lacks some.

    Raises:
        DataError: it has a class that train lacks; the message names the classes that only one of them has.
    """
    only_train, only_other = ([name for name in a if name not in set(b)] for a, b in ((train, other), (other, train)))
    if only_other:
        differences = [f"only in {train_name}: {some(only_train)}"] if only_train else []
        differences += [f"only in {other_name}: {some(only_other)}"]
        raise DataError(f"the class folders of {train_name} and {other_name} differ; {'; '.join(differences)}")
    if only_train:
        return [f"{other_name} lacks {len(only_train)} of the {len(train)} classes: {some(only_train)}"]
    return []
