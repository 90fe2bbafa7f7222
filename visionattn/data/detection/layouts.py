"""Where annotation files in COCO's format and their images lie: COCO's layout, Roboflow's, and others by their names.

A file belongs to the split that its name, or that of its folder, speaks of. Of several files the one of the right kind
is taken; where that does not decide, the files are named and the user is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionattn.data.detection.file_names import name_below
from visionattn.data.detection.json_file import COCO_LISTS, read_json
from visionattn.data.detection.values import as_text
from visionattn.data.facts import AUTO
from visionattn.errors import DataError

VAL_FRACTION = 0.2
"""Share of the images of a single annotation file that are held out for validation."""
SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "minival", "dev"),
    "test": ("test", "testing"),
}
_ROBOFLOW = "_annotations.coco.json"
_OTHER_KINDS = ("captions", "keypoints", "image_info", "results", "predictions", "detections", "stuff", "package")
_SAMPLED, _SHOWN = 20, 6


@dataclass(frozen=True)
class Kind:
    """A kind of annotation file.

    Attributes:
        word: that its name has where a folder holds several kinds.
        others: words that names of other kinds have.
        key: that its annotations have.
    """

    word: str
    others: tuple[str, ...]
    key: str


INSTANCES = Kind("instances", (*_OTHER_KINDS, "panoptic"), "bbox")
PANOPTIC = Kind("panoptic", (*_OTHER_KINDS, "instances"), "segments_info")


@dataclass(frozen=True)
class Layout:
    """Files and folders of a data set, relative to its root.

    Attributes:
        annotations: split -> file.
        images: split -> folder.
        note: what was recognized, for the user.
        val_fraction: share of the only file's images that is held out; None: the splits have files of their own.
    """

    annotations: dict[str, str]
    images: dict[str, str]
    note: str
    val_fraction: float | None = None


def find_layout(
    root: Path,
    options: Mapping[str, Any],
    kind: Kind = INSTANCES,
    read: Callable[[Path], dict[str, Any]] = read_json,
) -> Layout:
    """The layout of a data set.

    Args:
        root: its folder.
        options: ``images`` and ``annotations`` (split -> path below root) and ``val_fraction``; ``auto`` or absent: to
            be found.
        kind: of the annotation files.
        read: what reads them.

    Raises:
        DataError: there is no such folder, no file, several that could be meant, or no folder has the images.
    """
    if not root.is_dir():
        raise DataError(f"data.root={root} is not a folder")
    given, fraction = named(options.get("annotations", AUTO)), options.get("val_fraction", AUTO)
    files, note = {split: root / name for split, name in given.items()}, "annotations as given"
    if is_open(options.get("annotations", AUTO)):
        found, note = _annotation_files(root, kind, frozenset(files))
        files = found | files
        if "val" not in files:
            _refuse_lone_folder(root, files["train"])
            files["val"] = files["train"]
            fraction = VAL_FRACTION if fraction in (AUTO, None) else fraction
            name = files["train"].relative_to(root)
            note = f"one annotation file, {name}, with a fixed split: {fraction:.0%} of its images are held out"
    folders = named(options.get("images", AUTO), files)
    images = {split: root / name for split, name in folders.items()}
    if is_open(options.get("images", AUTO)):
        missing = [split for split, file in files.items() if split not in images and file.is_file()]
        one = files.get("train") == files.get("val")
        images |= {split: _image_folder(root, split, files[split], one, read) for split in missing}
    return Layout(
        _relative(root, files), _relative(root, images), f"layout: {note}", held_out(files, fraction, options)
    )


def is_open(value: Any) -> bool:
    """Whether a key of the source waits for paths: it is ``auto``, or those of some splits are."""
    return AUTO in value.values() if isinstance(value, Mapping) else value == AUTO


def named(value: Any, splits: Iterable[str] = ("train", "val")) -> dict[str, str]:
    """Split -> path as the user names them; one name alone is that of all splits."""
    if isinstance(value, str):
        return {} if value == AUTO else dict.fromkeys(splits, value)
    return {split: str(name) for split, name in value.items() if name not in (AUTO, None)}


def held_out(files: Mapping[str, Any], fraction: Any, options: Mapping[str, Any]) -> float | None:
    """The share of the images of one file for train and val that is held out; None: these are no parts of a file."""
    if files.get("train") != files.get("val"):
        return None
    if fraction == AUTO and isinstance(options.get("annotations"), str):
        return VAL_FRACTION
    return fraction if isinstance(fraction, (int, float)) else None


def _relative(root: Path, paths: Mapping[str, Path]) -> dict[str, str]:
    return {split: os.path.relpath(path, root) for split, path in paths.items()}


def _annotation_files(root: Path, kind: Kind, given: frozenset[str]) -> tuple[dict[str, Path], str]:
    """Split -> file, and what was recognized; at least ``train``, unless the user gives it."""
    usual = {split: root / "annotations" / f"{kind.word}_{split}2017.json" for split in ("train", "val")}
    if all(file.is_file() for file in usual.values()):
        return usual, "COCO's own"
    found = sorted(path for pattern in ("*.json", "*/*.json", "*/*/*.json") for path in root.glob(pattern))
    found = [path for path in found if not any(p.startswith((".", "@")) for p in path.relative_to(root).parts)]
    exported = [path for path in found if path.name == _ROBOFLOW]
    note = "Roboflow's COCO export" if exported else "COCO files found by their names"
    files = exported or [path for path in found if not any(word in path.stem.lower() for word in kind.others)]
    by_split: dict[str | None, list[Path]] = {}
    for path in files:
        by_split.setdefault(split_of(path.relative_to(root)), []).append(path)
    chosen = {
        split: _only(root, split, by_split[split], kind)
        for split in SPLIT_WORDS
        if split in by_split and split not in given
    }
    lone = None in by_split and "train" not in by_split and "train" not in given
    whole = _only(root, None, by_split[None], kind) if lone else None
    kept = {split: path for split, path in chosen.items() if path is not None}
    if whole is not None:
        kept["train"] = whole
    if "train" not in kept and "train" not in given:
        listed = ", ".join(str(path.relative_to(root)) for path in found[:_SHOWN]) or "no .json file"
        raise DataError(
            f"{root} has no annotation file in COCO's format for training (found: {listed}): set "
            "data.source.annotations.train and .val, and data.source.images"
        )
    return kept, note


def split_of(path: Path) -> str | None:
    """The split that a file's name speaks of, else its folders' names; None: none is named, or more than one."""
    for part in (path.stem, *reversed(path.parts[:-1])):
        words = set(re.findall(r"[a-z]+", part.lower()))
        named = [split for split, spellings in SPLIT_WORDS.items() if words & set(spellings)]
        if len(named) == 1:
            return named[0]
    return None


def _only(root: Path, split: str | None, files: Sequence[Path], kind: Kind) -> Path | None:
    """The file of the right kind among those of a split; None: none is.

    Raises:
        DataError: there are several.
    """
    usable = [path for path in files if _is_kind(path, kind)]
    named = [path for path in usable if kind.word in path.stem.lower()]
    usable = named if len(named) == 1 else usable
    if len(usable) > 1:
        listed = ", ".join(str(path.relative_to(root)) for path in usable[:_SHOWN])
        what = f"the {split} annotations" if split else "the annotations"
        raise DataError(
            f"{len(usable)} files of {root} could be {what}: {listed}; set data.source.annotations.{split or 'train'}"
        )
    return usable[0] if usable else None


def _is_kind(path: Path, kind: Kind) -> bool:
    """Whether a file is an annotation file of a kind. One that cannot be read counts: reading it later says why."""
    if kind.word in path.stem.lower():
        return True
    try:
        content = read_json(path, ())
    except DataError:
        return path.name == _ROBOFLOW or split_of(path) is not None
    if any(not isinstance(content.get(key), list) for key in COCO_LISTS):
        return False
    first = next((entry for entry in content["annotations"] if isinstance(entry, dict)), None)
    other = "segments_info" if kind.key == "bbox" else None
    return first is None or (kind.key in first if other is None else other not in first)


def _refuse_lone_folder(root: Path, train: Path) -> None:
    """Refuse to divide a file where there is a folder for validation, whose annotations are missing.

    Raises:
        DataError: there is one.
    """
    for base in (root, root / "images", root / "annotations"):
        for word in ("val2017", *SPLIT_WORDS["val"]):
            if (base / word).is_dir():
                raise DataError(
                    f"{base / word} has no annotation file for val, {train} is that of train: set "
                    "data.source.annotations.val, or data.source.annotations to one file for both"
                )


def _image_folder(root: Path, split: str, file: Path, one: bool, read: Callable[[Path], dict[str, Any]]) -> Path:
    """The folder that has the images of a file; that of another split only where both have ``one`` file.

    Raises:
        DataError: none has.
    """
    names = list(_sample(read(file)["images"]))
    places = list(dict.fromkeys(path for path in _places(root, split, file) if path.is_dir()))
    if not one:
        places = [path for path in places if split_of(Path(os.path.relpath(path, root)) / "x") in (None, split)]
    if not places or not names:
        return places[0] if places else root
    counts = {place: sum((place / name_below(place, name)).is_file() for name in names) for place in places}
    best = max(counts, key=lambda place: counts[place])  # the first of equals
    if not counts[best]:
        looked = ", ".join(os.path.relpath(place, root) for place in places[:_SHOWN])
        raise DataError(
            f"none of the images that {file} lists is in {root} (looked for file_name {names[0]} in {looked}): set "
            f"data.source.images.{split}"
        )
    return best


def _sample(images: Sequence[Any]) -> Iterator[str]:
    step = max(1, len(images) // _SAMPLED)
    for entry in images[::step]:
        name = as_text(entry.get("file_name")) if isinstance(entry, dict) else None
        if name is not None:
            yield name


def _places(root: Path, split: str, file: Path) -> Iterable[Path]:
    """Folders that may hold the images of a split, the likeliest first."""
    words = [f"{split}2017", *SPLIT_WORDS.get(split, (split,)), file.stem.partition("_")[2] or file.stem]
    if file.parent != root:
        yield from (file.parent / "images", file.parent)
    for base in (root, root / "images", root / "data"):
        yield from (base / word / "images" for word in words)
        yield from (base / word for word in words)
    for shared in ("images", "JPEGImages", "data", "imgs", "img"):
        yield root / shared
    yield root
    if file.parent != root:
        yield file.parent.parent
    yield from sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
