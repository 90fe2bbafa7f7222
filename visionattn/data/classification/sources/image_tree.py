"""Where the splits of an image folder lie: folders, tar files, or one folder of classes with a fixed split."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from visionattn.data.folders import some, visible_folders
from visionattn.data.names import SPLIT_NAMES, is_image, is_visible
from visionattn.errors import DataError

_TREE = """expected one of these trees:
  {root}/train/<class>/<image>        {root}/train.tar (holding <class>/<image>)
  {root}/val/<class>/<image>          {root}/val.tar
  {root}/<class>/<image>              (a fixed share is val)
or, for ImageNet's flat validation folder,
  {root}/val/<image> with {root}/LOC_val_solution.csv or a file val_labels.txt of lines "<filename> <class>"."""


@dataclass(frozen=True)
class Place:
    """Where a split lies.

    Attributes:
        path: a folder, or a tar file.
        part: ``train`` or ``val`` where the folder holds both: that part of a fixed split; else empty.
        told: sentences for the user.
    """

    path: Path
    part: str = ""
    told: tuple[str, ...] = field(default=())


class ImageTree:
    """The splits below a root.

    Names of folders are those of :data:`visionattn.data.folders.SPLIT_NAMES`, in small letters or in capitals. A folder
    goes before a tar file of its name. Where there is no val, test is validated on, if it has class folders. Without
    any split the classes lie in the root itself, with a fixed split.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, split: str) -> Place:
        """Where a split lies; test is val where there is none, or only a flat folder of images.

        Raises:
            DataError: nowhere; with the expected and the actual tree.
        """
        if not self.root.is_dir():
            raise DataError(f"no such folder: {self.root} (data.root is not a folder)")
        train, val, test = (self.located(name) for name in ("train", "val", "test"))
        if test is not None and not usable(test.path):
            test = None
        if train is None and val is None and test is None and has_classes(self.root):
            note = f"{self.root} has no folders of splits: a fixed share of its images is val, by their names alone"
            return Place(self.root, "train" if split == "train" else "val", (note,))
        if val is None and test is not None:
            note = f"there is no folder val: validation is on {test.path}"
            val = Place(test.path, "", (*test.told, note))
        found = {"train": train, "val": val, "test": test or val}[split]
        if found is None:
            alone = train is not None and has_classes(train.path)
            advice = f"data.root={train.path} splits that folder; " if train is not None and alone else ""
            raise DataError(f"no {split!r} split in {self.root}; {advice}{self.explain(self.root)}")
        return found

    def located(self, split: str) -> Place | None:
        """The folder or tar file with a name of a split."""
        entries = {entry.name.lower(): entry for entry in sorted(self.root.iterdir(), reverse=True)}
        names = SPLIT_NAMES[split]
        folder = next((entries[name] for name in names if name in entries and entries[name].is_dir()), None)
        tar = next((entries[f"{name}.tar"] for name in names if f"{name}.tar" in entries), None)
        if folder is None:
            return None if tar is None else Place(tar)
        told = [f"{tar} is left out: {folder} is read"] if tar is not None else []
        if folder.name != split:
            told.append(f"{split} is the folder {folder.name}")
        return Place(folder, "", tuple(told))

    def explain(self, path: Path) -> str:
        """The expected trees, and what a folder holds."""
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
        return f"{_TREE.format(root=self.root)}\nfound in {path}: {some(names) if names else 'nothing'}"


def usable(path: Path) -> bool:
    """Whether a split's path is a tar file, or a folder of classes or of tar files."""
    return path.is_file() or bool(tar_files(path)) or has_classes(path)


def has_classes(path: Path) -> bool:
    """Whether a folder has class folders, of which one holds an image directly or in a folder of its own."""
    return path.is_dir() and any(_holds_image(path / name, 3) for name in visible_folders(path))


def _holds_image(folder: Path, depth: int) -> bool:
    entries = [entry for entry in folder.iterdir() if is_visible(entry.name)]
    if any(is_image(entry.name) for entry in entries):
        return True
    return depth > 1 and any(_holds_image(entry, depth - 1) for entry in entries if entry.is_dir())


def is_flat(path: Path) -> bool:
    """Whether a folder holds images, and no folders."""
    return path.is_dir() and not visible_folders(path) and any(images_in(path))


def images_in(path: Path) -> list[str]:
    """Names of the images directly in a folder."""
    return [entry.name for entry in path.iterdir() if is_visible(entry.name) and is_image(entry.name)]


def tar_files(path: Path) -> list[Path]:
    """The tar files directly in a folder."""
    return sorted(path.glob("*.tar")) if path.is_dir() else []
