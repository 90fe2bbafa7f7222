"""Test sets over ImageNet-1k's classes: -V2, -A, -R, -Sketch, -C, and ReaL's labels of the validation images.

The order of the classes, the 200-class subsets and ReaL's labels are tables that timm ships.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from timm.utils.misc import natural_key

from visionattn.data.classification.imagenet import ALEXNET_ERRORS, imagenet_table, subset_labels, wordnet_ids
from visionattn.data.classification.sources.image_folder import FileRecords, ImageFolder
from visionattn.data.folders import images_below, some, visible_folders
from visionattn.data.records import PackedStrings
from visionattn.errors import ConfigError, DataError


@dataclass
class ImageNetRecords(FileRecords):
    """Images of ImageNet-1k's classes; labels are ImageNet's own.

    Attributes:
        class_subset: the only labels that count as answers; None: all 1,000.
        num_published: images that the published set has.
    """

    class_subset: list[int] | None = None
    num_published: int | None = None


class ImageNetFolders:
    """A test set of folders ``root/<class>/<image>``, each named by a WordNet id or by a label (0 ... 999).

    ImageNet-V2 (Recht et al. 2019, arXiv 1902.10811) names by label; -A (Hendrycks et al. 2019, arXiv 1907.07174), -R
    (Hendrycks et al. 2020, arXiv 2006.16241) and -Sketch (Wang et al. 2019, arXiv 1905.13549) by WordNet id.

    Args:
        root: the folder.
        classes: ``imagenet-1k``; or ``imagenet-a`` or ``imagenet-r``, whose 200 classes are then the only possible
            answers, also where some of their folders are missing.
        num_published: images that the published set has; the result says so where it is another number.

    Raises:
        ConfigError: unknown ``classes``.
        DataError: (on reading) no such folder, a folder that is no class, or no images.
    """

    splits: Sequence[str] = ("val", "test")

    def __init__(self, root: str, classes: str = "imagenet-1k", num_published: int | None = None) -> None:
        self.root = Path(root).expanduser()
        self.labels = subset_labels(classes)
        self.classes = classes
        self.num_published = num_published

    def open(self, split: str) -> ImageNetRecords:
        _only_evaluation(split, self.splits, self.root)
        files, labels = read_class_folders(self.root, self.root, self.labels, self.classes)
        restricted = None if self.classes == "imagenet-1k" else list(self.labels)
        return ImageNetRecords(
            self.root, PackedStrings(files), labels, list(wordnet_ids()), restricted, self.num_published
        )


class ImageNetReal:
    """ImageNet's validation images with ReaL's labels (Beyer et al. 2020, arXiv 2006.07159).

    An image may have several right labels, and images without any (3,163 of 50,000) do not count. The original labels
    are scored as always; ``real_top1`` stands beside them, over the ``real_images`` that have labels.

    Args:
        root: as for :class:`ImageFolder`; the files keep their names, ``ILSVRC2012_val_00000001.JPEG`` and so on.
        val_labels, synsets: as for :class:`ImageFolder`.
        real_labels: another ``real.json`` (relative to root): a list of lists of labels by the images' numbers.
        num_published: images that the published set has.
    """

    splits: Sequence[str] = ("val", "test")

    def __init__(
        self,
        root: str,
        val_labels: str | None = None,
        synsets: str | None = None,
        real_labels: str | None = None,
        num_published: int | None = 50_000,
    ) -> None:
        self.root = Path(root).expanduser()
        self._images = ImageFolder(root, val_labels, synsets)
        self.real_labels = real_labels
        self.num_published = num_published

    def open(self, split: str) -> RealRecords:
        _only_evaluation(split, self.splits, self.root)
        records = self._images.open("val")
        if not isinstance(records, FileRecords):
            raise DataError(f"ReaL's labels need image file names; {self.root} holds tar files")
        labels = relabeled(records)
        real = self._read()
        answers = {name: real[_number(name, len(real)) - 1] for name in records.ids}
        known = list(wordnet_ids())
        return RealRecords(records.root, records.ids, labels, known, None, self.num_published, answers)

    def _read(self) -> list[list[int]]:
        if self.real_labels is None:
            return list(json.loads(imagenet_table("imagenet_real_labels.json")))
        path = self.root / self.real_labels
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"the labels {path} cannot be read: {error}") from None
        if not isinstance(labels, list) or not all(isinstance(one, list) for one in labels):
            raise DataError(f"{path} is not a list of lists of labels, one for each validation image")
        return labels


@dataclass
class RealRecords(ImageNetRecords):
    """Validation images with all their right labels."""

    answers: Mapping[str, Sequence[int]] | None = None

    def scores(self, predictions: Mapping[str, int]) -> dict[str, float]:
        """``real_top1`` in percent and the number of images it counts."""
        answers = self.answers or {}
        right = [label in answers[name] for name, label in predictions.items() if answers[name]]
        return {"real_top1": 100 * sum(right) / len(right) if right else float("nan"), "real_images": len(right)}


class ImageNetC:
    """ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261): 15 corruptions at 5 severities.

    The layout is ``root/<corruption>/<severity>/<class>/<image>``, or with the four archives' folders (noise, blur,
    weather, digital) in between.

    Args:
        root: the folder.
        corruptions: which of :data:`ALEXNET_ERRORS`; None: all 15.
        severities: which of 1 to 5.
        num_published: images that the published set has for one corruption at one severity.

    Raises:
        ConfigError: an unknown corruption or severity.
        DataError: (on reading) a corruption or severity that is not there.
    """

    splits: Sequence[str] = ("val", "test")

    def __init__(
        self,
        root: str,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        num_published: int | None = 50_000,
    ) -> None:
        self.root = Path(root).expanduser()
        self.corruptions = list(corruptions or ALEXNET_ERRORS)
        self.severities = [int(severity) for severity in severities]
        self.num_published = num_published
        unknown = [name for name in self.corruptions if name not in ALEXNET_ERRORS]
        if unknown or not self.severities or not set(self.severities) <= {1, 2, 3, 4, 5}:
            raise ConfigError(
                f"corruptions are {', '.join(ALEXNET_ERRORS)} and severities 1 to 5; "
                f"got {', '.join(unknown or map(str, self.severities))}"
            )

    def open(self, split: str) -> CorruptedRecords:
        _only_evaluation(split, self.splits, self.root)
        files: list[str] = []
        labels: list[np.ndarray] = []
        for corruption in self.corruptions:
            folder = self._folder(corruption)
            for severity in self.severities:
                names, known = read_class_folders(
                    folder / str(severity), self.root, subset_labels("imagenet-1k"), "imagenet-1k"
                )
                files += names
                labels.append(known)
        count = len(self.corruptions) * len(self.severities)
        published = None if self.num_published is None else count * self.num_published
        every = np.concatenate(labels)
        return CorruptedRecords(self.root, PackedStrings(files), every, list(wordnet_ids()), None, published)

    def _folder(self, corruption: str) -> Path:
        for path in (self.root / corruption, *sorted(self.root.glob(f"*/{corruption}"))):
            if path.is_dir():
                return path
        raise DataError(f"no folder {corruption} in {self.root}; expected {corruption}/<severity>/<class>/<image>")


@dataclass
class CorruptedRecords(ImageNetRecords):
    """ImageNet-C; ids begin with corruption and severity."""

    def scores(self, predictions: Mapping[str, int]) -> dict[str, float]:
        """Errors by corruption, absolute and relative to AlexNet's.

        ``error/<corruption>`` is the error over the severities, ``ce/<corruption>`` the same over AlexNet's, and
        ``mce`` the mean of the latter, given with all 15 corruptions at all severities. An error is the mean over the
        severities of the share of wrong predictions, in percent.
        """
        wrong: dict[tuple[str, str], list[bool]] = {}
        for name, label in zip(self.ids, self.labels.tolist(), strict=True):
            if name in predictions:
                folders = name.split("/")
                at = next(i for i, folder in enumerate(folders) if folder in ALEXNET_ERRORS)
                wrong.setdefault((folders[at], folders[at + 1]), []).append(predictions[name] != label)
        errors: dict[str, list[float]] = {}
        for (corruption, _), answers in wrong.items():
            errors.setdefault(corruption, []).append(100 * sum(answers) / len(answers))
        figures = {f"error/{name}": float(np.mean(values)) for name, values in errors.items()}
        relative = {name: 100 * float(np.mean(values)) / ALEXNET_ERRORS[name] for name, values in errors.items()}
        figures |= {f"ce/{name}": value for name, value in relative.items()}
        if relative.keys() == ALEXNET_ERRORS.keys() and all(len(values) == 5 for values in errors.values()):
            figures["mce"] = float(np.mean(list(relative.values())))
        return figures


def read_class_folders(folder: Path, root: Path, allowed: Iterable[int], classes: str) -> tuple[list[str], np.ndarray]:
    """The images of ``folder/<class>`` as paths relative to ``root``, and their labels, int64.

    Raises:
        DataError: no such folder, a name that is no class of ``classes``, or no images.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    names = visible_folders(folder)
    number = {name: label for label, name in enumerate(wordnet_ids())} | {str(label): label for label in range(1000)}
    possible = set(allowed)
    strange = [name for name in names if number.get(name) not in possible]
    if strange or not names:
        what = f"folders that are not classes of {classes}: {some(strange)}" if strange else "no class folders"
        raise DataError(f"{folder} has {what}; a class is a WordNet id such as n01440764, or a label from 0 to 999")
    files: list[str] = []
    labels: list[int] = []
    for name in sorted(names, key=natural_key):
        images = images_below(folder / name, root=root)
        files += images
        labels += [number[name]] * len(images)
    if not files:
        raise DataError(f"no images in {folder}")
    return files, np.array(labels, dtype=np.int64)


def relabeled(records: FileRecords) -> np.ndarray:
    """ImageNet's own labels for records whose classes are WordNet ids, all or some of the 1,000."""
    unknown = sorted(set(records.class_names) - set(wordnet_ids()))
    if unknown:
        raise DataError(f"these folders are no class of imagenet-1k: {some(unknown)}")
    of_class = np.array([wordnet_ids().index(name) for name in records.class_names], dtype=np.int64)
    return of_class[records.labels]


def _number(name: str, count: int) -> int:
    """1 for ``.../ILSVRC2012_val_00000001.JPEG``."""
    digits = Path(name).stem.rpartition("_")[2]
    if not digits.isdigit() or not 1 <= int(digits) <= count:
        raise DataError(f"{name} is not named as ImageNet's validation images are (ILSVRC2012_val_00000001.JPEG)")
    return int(digits)


def _only_evaluation(split: str, splits: Sequence[str], root: Path) -> None:
    if split not in splits:
        raise DataError(f"{root} is a test set; it has no split {split!r}, only {', '.join(splits)}")
