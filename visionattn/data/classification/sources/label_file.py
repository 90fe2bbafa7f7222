"""Labels of ImageNet's flat validation folder, whose images carry no class in their path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionattn.data.folders import read_list
from visionattn.errors import DataError

USUAL_NAMES = (
    "val_labels.txt",
    "LOC_val_solution.csv",
    "ILSVRC2012_validation_ground_truth.txt",
)


def read_flat_labels(
    root: Path, folder: Path, names: Sequence[str], label_file: str | None, synsets: str | None
) -> dict[str, str]:
    """Class name of every image file in ``names``.

    Three formats are known: lines ``filename class``; Kaggle's CSV (``ImageId,PredictionString``, whose first word is
    the class); and the devkit's bare integers, one per image in the order of the names.

    Args:
        root: folder of the data set.
        folder: of the images.
        names: file names in natural order.
        label_file: relative to root; None: the usual names are tried.
        synsets: for bare integers: a file whose line k starts with the class of integer k.

    Raises:
        DataError: there is no file, a line does not parse, or an image has no label.
    """
    path = _find(root, folder, label_file)
    lines = read_list(path)
    if not lines:
        raise DataError(f"the label file {path} is empty")
    if all(line.isdigit() for line in lines):
        return _from_integers(path, lines, names, root, synsets)
    labels = _from_csv(path, lines) if path.suffix.lower() == ".csv" else _from_pairs(path, lines)
    of_stem = {Path(name).stem: label for name, label in labels.items()}
    missing = [name for name in names if Path(name).stem not in of_stem]
    if missing:
        raise DataError(f"{len(missing)} of {len(names)} images in {folder} have no label in {path}, e.g. {missing[0]}")
    return {name: of_stem[Path(name).stem] for name in names}


def _find(root: Path, folder: Path, label_file: str | None) -> Path:
    if label_file is not None:
        path = root / label_file
        if not path.is_file():
            raise DataError(f"no such label file: {path}")
        return path
    for base in (root, folder, root / "devkit" / "data", root / "ILSVRC2012_devkit_t12" / "data"):
        for name in USUAL_NAMES:
            if (base / name).is_file():
                return base / name
    raise DataError(
        f"{folder} is a flat folder of images without class folders, so it needs a label file: "
        f"{' or '.join(USUAL_NAMES)} in {root}, or val_labels=<path>"
    )


def _from_pairs(path: Path, lines: Sequence[str]) -> dict[str, str]:
    labels = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) != 2:
            raise DataError(f"{path} line {number}: expected 'filename class', got {line[:80]!r}")
        labels[Path(words[0]).name] = words[1]
    return labels


def _from_csv(path: Path, lines: Sequence[str]) -> dict[str, str]:
    labels = {}
    for number, line in enumerate(lines, 1):
        name, _, prediction = line.partition(",")
        if number == 1 and name == "ImageId":
            continue
        words = prediction.split()
        if not words:
            raise DataError(f"{path} line {number}: expected 'image,class ...', got {line[:80]!r}")
        labels[name] = words[0]
    return labels


def _from_integers(
    path: Path, lines: Sequence[str], names: Sequence[str], root: Path, synsets: str | None
) -> dict[str, str]:
    if synsets is None:
        raise DataError(f"{path} holds integers without a class list: give synsets=<path>, where line k names class k")
    synset_path = root / synsets
    if not synset_path.is_file():
        raise DataError(f"no such synset list: {synset_path}")
    classes = [line.split()[0] for line in read_list(synset_path)]
    if len(lines) != len(names):
        raise DataError(f"{path} has {len(lines)} labels for {len(names)} images")
    numbers = [int(line) for line in lines]
    if min(numbers) < 1 or max(numbers) > len(classes):
        raise DataError(
            f"{path} has labels {min(numbers)}..{max(numbers)}, but {synset_path} lists {len(classes)} classes, from 1"
        )
    return {name: classes[number - 1] for name, number in zip(names, numbers, strict=True)}
