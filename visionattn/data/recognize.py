"""Which layout a folder of the user's own has, from names of files and the beginnings of a few of them.

Nothing that reads data is imported, so that the command line can ask. What is told here is a guess about the layout
alone; the source of that layout reads the data, counts the classes, and refuses what does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from visionattn.data.layout_marks import (
    Mark,
    class_folders,
    coco_files,
    label_lines,
    labelme_files,
    open_images_tables,
    parquet_files,
    shard_index,
    voc_files,
)
from visionattn.data.mask_marks import mask_folders, masks_beside, pascal_masks
from visionattn.data.names import SPLIT_NAMES, is_image, is_visible
from visionattn.data.table_marks import labeled_table, why_no_table
from visionattn.errors import DataError
from visionattn.files import near_file

LOOKED_FOR = (
    "folders of images, one per class (image_folder); a table of files and labels (csv); COCO's or LVIS's .json (coco, "
    "coco_panoptic, lvis); data.yaml or labels/*.txt (yolo); .xml files of boxes (pascal_voc_detection); labelme's "
    ".json files (labelme, labelme_masks); images beside masks (image_mask, pascal_voc, ade20k, cityscapes); masks of "
    "objects (instance_masks); Open Images' tables (open_images); .parquet (hugging_face, hugging_face_detection); "
    "shards with _info.json (web_dataset)"
)
"""What a folder is searched for, with the name of each under ``visionattn list data``."""
_PROBES: tuple[Callable[[Path], list[Mark]], ...] = (
    *(coco_files, label_lines, voc_files, labelme_files, pascal_masks, mask_folders, open_images_tables),
    *(masks_beside, parquet_files, shard_index),
)
_LABELS_ONLY: tuple[Callable[[Path], list[Mark]], ...] = (labeled_table, class_folders)
"""What is looked for where nothing else is found: pictures of other layouts lie in folders, and tables beside them."""
_OTHERS = {
    "CreateML": "**/_annotations.createml.json",
    "VIA (VGG's annotator)": "**/via_*.json",
    "Supervisely": "*/ann/*.json",
    "KITTI": "**/label_2/*.txt",
    "boxes in TensorFlow's csv": "**/_annotations.csv",
}
"""Whose labels a folder may hold that are not read, and the files that show it."""
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_PICKED = 64


def recognize(path: Path, task: str | None = None, asked: str = "") -> Mark:
    """The layout of a folder, or of the one file that describes a data set (``data.yaml``, COCO's ``.json``, a table).

    Args:
        path: of the folder or file.
        task: what is to be trained on it; layouts of other tasks are left aside. None: any.
        asked: the word of the command line that asks for the task; empty: ``task=NAME``.

    Raises:
        DataError: there is nothing, no layout is recognized, or several are; in one sentence.
    """
    if not path.exists():
        raise DataError(f"data={path}: there is no such folder{near_file(path)}")
    if path.is_file():
        return _of_file(path, task)
    _refuse_split(path)
    found = marks_of(path)
    fitting = [mark for mark in found if mark.fits(task)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(f"data={path} could be {_listed(fitting)}: {_choice(fitting)}")
    if found:
        asked = asked or f"task={task}"
        boxes = task == "panoptic" and any(mark.task == "detection" for mark in found)
        alone = ", or learn objects alone with task.panoptic=false task.instance=true" if boxes else ""
        away = f"leave {asked.partition('=')[0]}= away{alone}"
        raise DataError(f"data={path} is {_listed(found)}, which does not train {asked}; {away}")
    raise DataError(f"data={path} has no layout that is known{_hint(path)}; looked for {LOOKED_FOR}")


def marks_of(root: Path) -> list[Mark]:
    """Every layout that a folder shows."""
    found = [mark for probe in _PROBES for mark in probe(root)]
    return found or [mark for probe in _LABELS_ONLY for mark in probe(root)]


def some_images(root: Path, most: int = _PICKED) -> list[Path]:
    """A few image files of a folder, at any depth; those of masks and the like are left out."""
    found: list[Path] = []
    waiting = [root]
    while waiting and len(found) < most:
        entries = sorted(waiting.pop(0).iterdir())
        found += [entry for entry in entries if is_visible(entry.name) and is_image(entry.name)][: most - len(found)]
        waiting += [entry for entry in entries if entry.is_dir() and is_visible(entry.name) and not _aside(entry)]
        waiting = waiting[:most]
    return found


def _aside(folder: Path) -> bool:
    return any(word in folder.name.lower() for word in ("mask", "label", "annotation", "segmentation", "gtfine"))


def _of_file(path: Path, task: str | None) -> Mark:
    """The layout of which one file is named."""
    ending = path.suffix.lower()
    if ending in _ARCHIVES:
        raise DataError(f"data={path} is an archive: unpack it, and name the folder")
    if is_image(path.name):
        raise DataError(f"data={path} is one image: name the folder of the data set; predict takes source={path}")
    if ending in (".yaml", ".yml"):
        return Mark("yolo", "detection", f"YOLO's {path.name}", path)
    if ending in (".csv", ".tsv", ".txt") and (tables := labeled_table(path.parent, path.name)):
        return tables[0]
    if ending == ".json":
        folder = path.parent.parent if path.parent.name == "annotations" else path.parent
        marks = [mark for mark in coco_files(folder, path.relative_to(folder).as_posix()) if mark.fits(task)]
        if marks:
            return marks[0]
    if ending == ".parquet":
        return recognize(path.parent, task)
    raise DataError(
        f"data={path} is a file of no known layout: name the folder of the data set, YOLO's data.yaml, COCO's .json, "
        "or a table with columns of files and labels"
    )


def _refuse_split(path: Path) -> None:
    """Refuse one split of a data set, whose others lie beside it.

    Raises:
        DataError: it is one.
    """
    whole = path.absolute()
    names = {name for spellings in SPLIT_NAMES.values() for name in spellings}
    if whole.name.lower() not in names:
        return
    others = {entry.name for entry in whole.parent.iterdir() if entry.is_dir() and entry.name.lower() in names}
    others -= {whole.name}
    found = marks_of(path)
    if others and not any(mark.data == "yolo" for mark in found):
        name = found[0].data if found else "image_folder"
        parent = path.parent if path.parent.name else whole.parent
        raise DataError(
            f"data={path} is one split of a data set, {' and '.join(sorted(others))} lie beside it: data={parent} "
            f"reads all of them, and data={name} data.root={path} this one alone"
        )


def _listed(marks: list[Mark]) -> str:
    return " or ".join(f"data={mark.data} ({mark.why})" for mark in marks)


def _choice(marks: list[Mark]) -> str:
    """What tells them apart on the command line."""
    tasks = list(dict.fromkeys(mark.task for mark in marks))
    if len(tasks) == len(marks):
        return f"choose with {' or '.join(f'task={task}' for task in tasks)}"
    return f"choose one of them as data=NAME data.root={marks[0].root}"


def _hint(path: Path) -> str:
    """What a folder holds in place of a layout, in a few words."""
    entries = [entry for entry in sorted(path.iterdir()) if is_visible(entry.name)]
    folders = [entry for entry in entries if entry.is_dir()]
    inner = [folder for folder in folders if marks_of(folder)]
    if len(inner) == 1:
        return f", but {inner[0].name} in it has one: data={inner[0]}"
    if other := next((name for name, pattern in _OTHERS.items() if any(path.glob(pattern))), ""):
        return f", but files of {other}, which are not read: export or convert them to COCO's .json or YOLO's format"
    archives = [entry.name for entry in entries if entry.suffix.lower() in _ARCHIVES]
    if archives:
        return f", but an archive: unpack {archives[0]} first"
    if not entries:
        return ": it is empty"
    if table := why_no_table(path):
        return f", {table}"
    if images := sum(is_image(entry.name) for entry in entries):
        return f", it holds {images} images and nothing that says what they show"
    train = next((folder for folder in folders if folder.name.lower() in SPLIT_NAMES["train"]), None)
    classes = [entry for entry in sorted((train or path).iterdir()) if entry.is_dir() and is_visible(entry.name)]
    pictured = [folder.name for folder in classes if any(is_image(entry.name) for entry in folder.iterdir())]
    if len(pictured) == 1:
        where = f"{train.name}/{pictured[0]}" if train else pictured[0]
        return f", images lie in one folder alone ({where}), and classes are at least two"
    return f" (it holds {', '.join(entry.name for entry in entries[:6])}{', ...' if len(entries) > 6 else ''})"
