"""Where labelme's files and their images lie."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from visionattn.data.detection.formats.beside import FOLDERS, Pair, folder_of, label_files, pairs_in, share_of
from visionattn.data.detection.formats.content import listing
from visionattn.data.labelme import read_labelme
from visionattn.errors import DataError


class LabelmeFiles:
    """Images with labelme's JSON files, of folders of splits or of one folder.

    Args:
        root: the folder.
        val_fraction: of the images that are held out where no folder is for validation.
    """

    def __init__(self, root: Path, val_fraction: float) -> None:
        self.root, self.val_fraction = root, val_fraction
        self._pairs: dict[str, list[Pair]] = {}

    @cached_property
    def whole(self) -> Path | None:
        """The one folder of which a share is held out; None: each split has its own.

        Raises:
            DataError: there are no such files.
        """
        if not self.root.is_dir():
            raise DataError(f"there is no folder {self.root}; set data.root to the data set's folder")
        train, val = folder_of(self.root, "train"), folder_of(self.root, "val")
        of_train = train is not None and label_files(train, ".json")
        if of_train and val is not None:
            return None
        if of_train or label_files(self.root, ".json"):
            return train if of_train else self.root
        raise DataError(
            f"{self.root} holds no files of labelme: expected a .json beside every image, there or in train and val; "
            f"{listing(self.root)}"
        )

    def pairs(self, split: str) -> list[Pair]:
        """Every image of a split with its file, or without one; empty where the split is missing."""
        if split not in self._pairs:
            own = self.whole is None or split == "test"
            folder = folder_of(self.root, split) if own else self.whole
            found = [] if folder is None else pairs_in(folder, ".json", _image_name)
            if self.whole is not None and not own:
                found = share_of(self.whole, found, split, self.val_fraction)
            self._pairs[split] = found
        return self._pairs[split]

    def labels(self, split: str) -> list[Path]:
        """The JSON files of a split."""
        return [file for _, file in self.pairs(split) if file is not None]

    @property
    def told(self) -> str:
        """How the splits are divided, in a few words."""
        if self.whole is None:
            names = (folder.name for folder in (folder_of(self.root, split) for split in FOLDERS) if folder)
            return f"one folder per split ({', '.join(names)})"
        return f"one folder, {self.val_fraction:.0%} of whose images are held out by their names"


def _image_name(path: Path) -> str:
    try:
        return read_labelme(path).file_name
    except DataError:  # told where the file is read
        return ""
