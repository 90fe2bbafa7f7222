"""YOLO's data.yaml: class names, and where the images of each split lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from visionattn.data.detection.file_names import name_below
from visionattn.data.detection.formats.content import image_files, listing, read_text
from visionattn.errors import DataError

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_CLASS_LISTS = ("classes.txt", "obj.names", "labels/classes.txt", "labels.txt")


@dataclass
class YoloLayout:
    """What a data set in YOLO's layout says about itself.

    Attributes:
        file: the YAML file, or the list of names where there is none.
        base: folder that splits are relative to.
        names: of the classes, by index.
        splits: split -> folders, lists of images or single images, as the file names them.
        category_ids: numbers that another format gives the classes; None: their indices.
        keypoints: whether labels hold keypoints behind each box.
        named: whether names are given, and not made of a number of classes.
        told: what the reader took for granted.
    """

    file: Path
    base: Path
    names: list[str]
    splits: dict[str, list[str]]
    category_ids: list[int] | None = None
    keypoints: bool = False
    named: bool = True
    told: list[str] = field(default_factory=list)
    images: dict[str, list[Path]] = field(default_factory=dict)

    def files(self, split: str) -> list[Path]:
        """Image files of a split, in order; none where the data set lacks the split.

        Raises:
            DataError: a folder or list does not exist, or a list names an image twice.
        """
        if split not in self.images:
            found = [path for entry in self.splits.get(split, []) for path in self._listed(entry)]
            counts = Counter(found) if len(set(found)) < len(found) else Counter[Path]()
            twice = next((path for path, count in counts.items() if count > 1), None)
            if twice is not None:
                raise DataError(f"{self.file}: {split} names the image {twice} twice; name each image once")
            self.images[split] = found
        return self.images[split]

    def _listed(self, entry: str) -> list[Path]:
        path = self._resolve(entry)
        if path.is_dir():
            return image_files(path)
        if path.suffix.lower() != ".txt":
            return [path]
        lines = [line.strip() for line in read_text(path).splitlines()]
        return [_beside(path, line, self.base) for line in lines if line and not line.startswith("#")]

    def exists(self, entry: str) -> bool:
        """Whether there is what the file names."""
        return any(path.exists() for path in self._places(entry))

    def _places(self, entry: str) -> list[Path]:
        """Roboflow writes ``../train/images`` although the folder lies beside the file."""
        beside = [self.base / entry.removeprefix("../")] if entry.startswith("../") else []
        return [self.base / entry, *beside, self.file.parent / entry]

    def _resolve(self, entry: str) -> Path:
        tried = self._places(entry)
        for path in tried:
            if path.exists():
                return path
        raise DataError(
            f"{self.file} names {entry}, but {tried[0]} does not exist; correct the entry or `path` "
            f"({listing(self.base if self.base.is_dir() else self.file.parent)})"
        )


def _beside(file: Path, line: str, base: Path) -> Path:
    """An image that a list names: relative to the list, else to the data set."""
    path = Path(line).expanduser()
    if not path.is_file():
        path = Path(name_below(base, line))
    if path.is_absolute():
        return path
    near = file.parent / path
    return near if near.exists() or not (base / path).exists() else base / path


def read_layout(root: Path, names: list[str] | None = None) -> YoloLayout:
    """The layout of a data set.

    Args:
        root: its folder, or the YAML file itself.
        names: of the classes, where no file has them.

    Raises:
        DataError: there is no such file, it is no YAML, or it names no classes or no splits.
    """
    file = root if root.is_file() else _find(root)
    if file is None:
        return _without_yaml(root, names)
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise DataError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is not a data set's YAML file: it has no keys `names` and `train`")
    splits = {split: _entries(content, split, file) for split in SPLITS}
    splits = {split: entries for split, entries in splits.items() if entries}
    if not splits:
        raise DataError(f"{file} names no images: write `train:` and `val:` with their folders")
    found = names or _names(content, file)
    ids = content.get("category_ids")
    if ids is not None and (not _integers(ids) or len(set(ids)) != len(found) or len(ids) != len(found)):
        raise DataError(f"{file}: category_ids must be {len(found)} different integers, one per class")
    named = names is not None or content.get("names") is not None
    return _without_absent_test(
        YoloLayout(file, _base(content, file), found, splits, ids, "kpt_shape" in content, named)
    )


def _without_absent_test(layout: YoloLayout) -> YoloLayout:
    """The layout without a test split of which nothing is there: Roboflow names one in every file."""
    entries = layout.splits.get("test", [])
    if entries and not any(layout.exists(entry) for entry in entries):
        del layout.splits["test"]
        layout.told.append(f"{layout.file} names {', '.join(entries)} for test, which is not there")
    return layout


def _integers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int) for value in values)


def _find(root: Path) -> Path | None:
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; set data.root to the data set's folder or to its data.yaml")
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    usual = [path for path in found if path.stem in ("data", "dataset")]
    wanted = usual or [path for path in found if "names" in path.read_text(encoding="utf-8", errors="replace")]
    if len(wanted) > 1:
        raise DataError(f"{root} has several YAML files ({', '.join(p.name for p in wanted)}); set data.root to one")
    return wanted[0] if wanted else None


def _base(content: Mapping[str, Any], file: Path) -> Path:
    """The folder of ``path``; the file's own where ``path`` is absent or lies on another machine."""
    given = content.get("path")
    if given in (None, ""):
        return file.parent
    base = (file.parent / Path(str(given)).expanduser()).resolve()
    return base if base.is_dir() else file.parent


def _entries(content: Mapping[str, Any], split: str, file: Path) -> list[str]:
    for key in SPLITS[split]:
        value = content.get(key)
        if value in (None, "", []):
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in values):
            raise DataError(f"{file}: {key} must be a folder, a list of folders or a list file, got {value!r}")
        return values
    return []


def _names(content: Mapping[str, Any], file: Path) -> list[str]:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, Mapping):
        keys = sorted(names, key=lambda key: (not isinstance(key, int), str(key) if not isinstance(key, int) else key))
        if keys != list(range(len(keys))):
            raise DataError(f"{file}: the keys of names must be 0, 1, 2, ... without gaps, got {keys[:12]}")
        names = [names[key] for key in keys]
    if names is None and isinstance(count, int) and count > 0:
        names = [str(index) for index in range(count)]
    if not isinstance(names, list) or not names or any(isinstance(name, (dict, list)) for name in names):
        raise DataError(f"{file} names no classes: write names: [first, second, ...], or names by index")
    if count is not None and count != len(names):
        raise DataError(f"{file}: nc is {count}, but names has {len(names)} entries; correct one of them")
    found = [str(name) for name in names]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise DataError(f"{file}: names has {', '.join(twice[:8])} more than once; give every class its own name")
    return found


def _beside_images(root: Path) -> dict[str, list[str]]:
    """Split -> folder where labels lie beside the images: CVAT's ``obj_train_data``, or the folder itself."""
    folders = sorted(path for path in root.glob("obj_*_data") if path.is_dir())
    found = {
        split: [path.name for path in folders if path.name[4:-5].lower() in names] for split, names in SPLITS.items()
    }
    if not any(found.values()) and any(path.with_suffix(".txt").is_file() for path in image_files(root, deep=False)):
        found["train"] = ["."]
    return {split: places for split, places in found.items() if places}


def _without_yaml(root: Path, names: list[str] | None) -> YoloLayout:
    """Images and labels in folders of the usual names, class names in a list beside them."""
    file = next((root / name for name in _CLASS_LISTS if (root / name).is_file()), None)
    if names is None and file is not None:
        names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    splits: dict[str, list[str]] = {}
    for split, usual in SPLITS.items():
        places = [place for name in usual for place in (f"images/{name}", f"{name}/images") if (root / place).is_dir()]
        if places:
            splits[split] = places[:1]
    if not splits and (root / "images").is_dir() and (root / "labels").is_dir():  # as tools for labeling export
        splits["train"] = ["images"]
    splits = splits or _beside_images(root)
    if not names or not splits:
        lacking = "data.yaml" if not splits else "class names: neither data.yaml nor classes.txt"
        raise DataError(
            f"{root} is no data set in YOLO's layout, it has no {lacking}; expected data.yaml with names, train and "
            f"val ({listing(root)})"
        )
    return YoloLayout(file or root, root, names, splits)
