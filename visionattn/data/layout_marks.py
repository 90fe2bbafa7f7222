"""The marks of each layout: files and folders by which a data set is known."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from visionattn.data.facts import header_size, typical_size
from visionattn.data.names import (
    IMAGE_FOLDERS,
    LABEL_COLUMNS,
    MASK_FOLDERS,
    SPLIT_NAMES,
    is_image,
    is_visible,
)
from visionattn.data.text import decoded

_HEAD, _TAIL, LOOKED_AT = 2**18, 2**16, 200
_ROWS = 16  # of a parquet file whose images are looked at
_FEW, _ANY_SPLIT = 4, {name for names in SPLIT_NAMES.values() for name in names}
_LISTS, _OTHER_JSON = ("images", "annotations", "categories"), ("captions", "image_info", "results", "stuff")


@dataclass(frozen=True)
class Mark:
    """A layout that a folder shows.

    Attributes:
        data: its name under ``visionattn list data``.
        task: that it is for.
        why: by what it was known, in a few words.
        root: the value of ``data.root``.
        keys: further keys, without ``data.``.
        asked: whether it is meant only where its task is named, beside another reading of the same files.
        image_size: a typical (height, width) of images inside other files; None: they are files, or not known.
    """

    data: str
    task: str
    why: str
    root: Path
    keys: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = False
    image_size: tuple[int, int] | None = None

    def fits(self, task: str | None) -> bool:
        """Whether it is for a task; None: any."""
        return (task is None and not self.asked) or task == self.task


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder that can be part of a data set; none where there is no folder."""
    if not path.is_dir():
        return []
    return [entry for entry in sorted(path.iterdir()) if entry.is_dir() and is_visible(entry.name)]


def folder_of_split(root: Path, split: str) -> Path | None:
    """The folder of a split, by its usual names; None: there is none."""
    return next((folder for folder in folders_in(root) if folder.name.lower() in SPLIT_NAMES[split]), None)


def files_ending(folder: Path, ending: str) -> list[Path]:
    """A few files with an ending, directly in a folder; none where there is no folder."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() == ending and is_visible(path.name))
    return sorted(islice(found, LOOKED_AT))


def has_images(folder: Path, depth: int = 1) -> bool:
    """Whether a folder holds images, at one of so many levels."""
    entries = [entry for entry in folder.iterdir() if is_visible(entry.name)] if folder.is_dir() else []
    if any(is_image(entry.name) for entry in entries):
        return True
    return depth > 1 and any(has_images(entry, depth - 1) for entry in entries if entry.is_dir())


def start_of(path: Path) -> str:
    """The beginning and the end of a text file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(max(len(head), path.stat().st_size - _TAIL))
            return decoded(head + file.read(), "replace")
    except OSError:
        return ""


def coco_files(root: Path, only: str | None = None) -> list[Mark]:
    """COCO's, Roboflow's or LVIS's files of annotations, of boxes and of panoptic maps."""
    patterns = [only] if only else ["*.json", "*/*.json", "*/*/*.json"]
    found = [path for pattern in patterns for path in sorted(islice(root.glob(pattern), LOOKED_AT))]
    kinds: dict[str, Path] = {}
    for path in found:
        if all(is_visible(part) for part in path.relative_to(root).parts) and (kind := _kind_of(path)):
            kinds.setdefault(kind, path)
    keys = {"source.annotations": only} if only else {}
    tasks = {"coco": "detection", "lvis": "detection", "coco_panoptic": "panoptic"}
    whose = {"coco": "boxes in COCO's format", "lvis": "LVIS's boxes", "coco_panoptic": "COCO's panoptic maps"}
    return [
        Mark(kind, tasks[kind], f"{whose[kind]}, {path.relative_to(root)}", root, keys) for kind, path in kinds.items()
    ]


def _kind_of(path: Path) -> str:
    name = path.name.lower()
    if any(word in name for word in _OTHER_JSON):
        return ""
    text = start_of(path)
    if sum(f'"{key}"' in text for key in _LISTS) < 2:
        return ""
    if name.startswith("lvis"):
        return "lvis"
    if '"segments_info"' in text:
        return "coco_panoptic"
    return (
        "coco" if '"bbox"' in text or '"segmentation"' in text or re.search(r'"annotations"\s*:\s*\[\s*]', text) else ""
    )


def label_lines(root: Path) -> list[Mark]:
    """YOLO's data.yaml, or folders ``labels`` of text files with a class and numbers in every line."""
    for path in (*files_ending(root, ".yaml"), *files_ending(root, ".yml")):
        text = start_of(path)
        if re.search(r"^(names|nc)\s*:", text, re.M) and re.search(r"^(train|val|valid)\s*:", text, re.M):
            return [Mark("yolo", "detection", f"YOLO's {path.name}", root)]
    for pattern in ("labels", "labels/*", "*/labels", "obj_*_data", ""):
        for folder in sorted(root.glob(pattern)) if pattern else [root]:
            lines = (start_of(path).partition("\n")[0] for path in files_ending(folder, ".txt"))
            if any(re.fullmatch(r"\ufeff?\d+(\s+-?[\d.eE+-]+){4,}\s*", line) for line in lines):
                where = f"in {folder.relative_to(root)}" if pattern else "beside the images"
                return [Mark("yolo", "detection", f"YOLO's label files {where}", root)]
    return []


def voc_files(root: Path) -> list[Mark]:
    """Pascal VOC's XML files."""
    inner = ("", "Annotations", "annotations", "xmls", "labels")
    bases = [root, *folders_in(root), *sorted(root.glob("VOCdevkit/*"))]
    for base in bases:
        for name in inner:
            xml = next((path for path in files_ending(base / name, ".xml")), None)
            if xml is not None and "<annotation" in start_of(xml):
                place = xml.parent.relative_to(root).as_posix()
                where = "beside the images" if place == "." else f"in {place}"
                return [Mark("pascal_voc_detection", "detection", f"Pascal VOC's .xml files {where}", root)]
    return []


def labelme_files(root: Path) -> list[Mark]:
    """Labelme's JSON files: objects, or maps of classes where these are asked for."""
    for base in (root, *folders_in(root)):
        for name in ("", "Annotations", "annotations", "labels"):
            if any(_is_labelme(path) for path in files_ending(base / name, ".json")[:_FEW]):
                place = (base / name).relative_to(root).as_posix()
                why = f"labelme's .json files {'beside the images' if place == '.' else f'in {place}'}"
                own = root if base == root or base.name.lower() in _ANY_SPLIT else base
                return [
                    Mark("labelme", "detection", why, own),
                    Mark("labelme_masks", "segmentation", why, own, asked=True),
                ]
    return []


def _is_labelme(path: Path) -> bool:
    text = start_of(path)
    return re.search(r'"shapes"\s*:\s*\[', text) is not None and '"imagePath"' in text


def open_images_tables(root: Path) -> list[Mark]:
    """Open Images' tables of boxes."""
    found = sorted(root.glob("*annotations-bbox.csv"))
    return [Mark("open_images", "detection", f"Open Images' {found[0].name}", root)] if found else []


def parquet_files(root: Path) -> list[Mark]:
    """Parquet files of the Hugging Face Hub, of boxes or of labels.

    Raises:
        DataError: there are some, and pyarrow is missing or cannot read them.
    """
    if not any(True for pattern in ("*", "*/*", "*/*/*") for _ in root.glob(f"{pattern}.parquet")):
        return []
    from visionattn.data.detection.formats.parquet import ParquetTable, files_of

    found = files_of(root, "train")
    if not found:
        return []
    table = ParquetTable(found[:1])
    names = table.names
    if "objects" in names:
        size = _size_in(table, "image")
        return [Mark("hugging_face_detection", "detection", f"boxes in {found[0].name}", root, image_size=size)]
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    image = next((name for name in ("image", "img") if name in names), None)
    if label is None or image is None:
        return []
    keys = {"source.name": str(root), "source.image_key": image, "source.label_key": label}
    why, size = f"images and labels in {found[0].name}", _size_in(table, image)
    return [Mark("hugging_face", "classification", why, root, keys, image_size=size)]


def _size_in(table: Any, column: str) -> tuple[int, int] | None:
    """A typical size of the images in a table's first rows; None: no such column, or none is stored in it."""
    cells = [table.cell(column, row) for row in range(min(_ROWS, len(table)))] if column in table.names else []
    stored = (cell.get("bytes") if isinstance(cell, Mapping) else cell for cell in cells)
    sizes = (header_size(io.BytesIO(one)) for one in stored if isinstance(one, bytes))
    return typical_size(size for size in sizes if size is not None)


def shard_index(root: Path) -> list[Mark]:
    """WebDataset's shards with their list."""
    shards = files_ending(root, ".tar")
    listed = shards and (root / "_info.json").is_file()
    return [Mark("web_dataset", "classification", "shards listed in _info.json", root)] if listed else []


def class_folders(root: Path) -> list[Mark]:
    """ImageNet's layout, and one folder of classes; a lone train is divided as that is."""
    train, others = folder_of_split(root, "train"), [folder_of_split(root, split) for split in ("val", "test")]
    splits = {name for spellings in SPLIT_NAMES.values() for name in spellings}
    place = train or root
    classes = [
        one.name for one in folders_in(place) if has_images(one, 3) and (train or one.name.lower() not in splits)
    ]
    if all(name.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS) for name in classes):
        classes = []  # images and what belongs to them, not two classes
    if len(classes) < 2:
        tars = (root / "train.tar").is_file() or (train is not None and len(files_ending(train, ".tar")) > 1)
        return [Mark("image_folder", "classification", "tar files of classes", root)] if tars else []
    few = f"{', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''}"
    alone = train is not None and not any(others) and not any(files_ending(root, ".tar"))
    why = f"class folders {few} in {train.name if train else 'it'}"
    return [Mark("image_folder", "classification", why, place if alone else root)]
