"""The base of all sources of boxes that are not COCO's file: a reader gives content, the rest is COCO's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionattn.data.detection.formats.content import Content
from visionattn.data.detection.sources import CocoRecords
from visionattn.data.detection.splits import MaskedShare
from visionattn.data.detection.tally import Tally
from visionattn.data.facts import AUTO, DataFacts
from visionattn.errors import ConfigError, DataError


class FormatRecords(CocoRecords):
    """One split of a format, as :class:`CocoRecords`.

    Args:
        folder: of the images.
        where: what messages name as the place of the annotations.
        content: of the reader.
        masks: read masks.
        empty_images: keep images without any object.
    """

    def __init__(self, folder: Path, where: Path, content: Content, masks: bool, empty_images: bool) -> None:
        super().__init__(folder, where, masks, empty_images, content.as_coco())
        self.told = content.told
        merge(content.dropped, self.annotations.dropped)
        self.annotations.listed += content.dropped.total


def merge(source: Tally, target: Tally) -> None:
    """Add what a reader left out to what the checks of COCO's form left out."""
    for reason, count in source.counts.items():
        target.counts[reason] = target.counts.get(reason, 0) + count
        target.examples[reason] = target.examples.get(reason, []) + source.examples[reason]


SAMPLED_LABELS = 64
"""Label files that are read at most to learn whether they hold masks."""


class BoxSource(ABC):
    """A data set of boxes in one format. Building it reads nothing.

    A subclass gives :meth:`read`, :meth:`classes`, :meth:`files` and :meth:`masked_share`.

    Args:
        root: the folder.
        masks: whether masks are read; ``auto``: where any object of the split has one.
        empty_images: train on images without objects too; evaluation always has them.

    Raises:
        ConfigError: ``masks`` is neither a truth value nor ``auto``.
    """

    splits: Sequence[str] = ("train", "val", "test")

    def __init__(self, root: str, masks: bool | str = AUTO, empty_images: bool = True) -> None:
        if masks not in (True, False, AUTO):
            raise ConfigError(f"data.source.masks must be true, false or auto, got {masks}")
        self.root = Path(root).expanduser()
        self.masks, self.empty_images = masks, empty_images

    @abstractmethod
    def read(self, split: str) -> tuple[Path, Path, Content]:
        """One split: the folder that its file names are relative to, what messages call it, and its content.

        Raises:
            DataError: the split is missing or cannot be read.
        """

    @abstractmethod
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels."""

    @abstractmethod
    def files(self, split: str) -> list[Path]:
        """Image files of a split; empty where there is none. Used to count and to learn a typical size."""

    @abstractmethod
    def masked_share(self) -> MaskedShare:
        """How many objects of a sample of the training labels have masks."""

    def own_splits(self) -> list[str]:
        """Splits that the data set has under their own name."""
        return [split for split in self.splits if self.files(split)]

    def open(self, split: str) -> CocoRecords:
        """Read one split.

        Raises:
            DataError: see :meth:`read`; or it has no image.
        """
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}; choose one of {', '.join(self.splits)}")
        folder, where, content = self.read(split)
        if not content.images:
            raise DataError(f"{where} lists no image for {split}")
        masks = content.has_masks if self.masks == AUTO else bool(self.masks)
        return self.records(folder, where, content, masks, self.empty_images or split != "train")

    def records(self, folder: Path, where: Path, content: Content, masks: bool, empty_images: bool) -> CocoRecords:
        """The records of a content; a subclass whose images are no files gives its own."""
        return FormatRecords(folder, where, content, masks, empty_images)

    @classmethod
    def inspect(cls, root: Path, options: Mapping[str, Any]) -> DataFacts:
        """Facts about a data set of this format; see :class:`visionattn.data.facts.Inspectable`."""
        from visionattn.data.facts import sampled_size

        given = {name: value for name, value in options.items() if not name.startswith("_") and name != "root"}
        source = cls(str(root), **given)
        names = source.classes()
        files = {split: source.files(split) for split in source.splits}
        seen, asked = source.masked_share(), source.masks == AUTO
        return DataFacts(
            num_classes=len(names),
            class_names=tuple(names),
            image_size=sampled_size(files["train"]),
            images={split: len(found) for split, found in files.items() if found},
            options={"masks": seen.most if asked else bool(source.masks)},
            notes=(*source.notes(), *(seen.told() if asked else ())),
            named=source.has_names(),
        )

    def notes(self) -> list[str]:
        """Sentences about the layout, for the user."""
        return []

    def has_names(self) -> bool:
        """Whether the names of the classes say what they are, and do not only count them."""
        return True
