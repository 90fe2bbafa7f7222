"""What the splits of a data set must have: few faults, the same categories, and masks where a model learns them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from visionattn.data.detection.sources import CocoRecords, SizedImages
from visionattn.data.detection.tally import Tally
from visionattn.data.folders import some
from visionattn.errors import DataError


@runtime_checkable
class MasksOnDemand(Protocol):
    """Data that draw masks of objects only for a model that learns them."""

    def require_masks(self, needed: bool) -> None:
        """Take note of whether the model learns masks; a task calls it once the splits are read.

        Raises:
            DataError: they are needed, and the training data have none.
        """


MANY_OBJECTS, MOST_LOST = 50, 0.7
"""Objects from which those that a transform removes are judged, and the share of them that is told."""
LEFT_OUT_BUDGET = 0.3
"""Share of the annotations of a split that may be left out, unless the configuration says otherwise."""


@dataclass(frozen=True)
class MaskedShare:
    """How many objects that were looked at have a mask; it decides whether masks are learned unless somebody says so.

    Attributes:
        masked: objects with a mask.
        objects: all that were looked at.
    """

    masked: int
    objects: int

    @property
    def most(self) -> bool:
        """Whether so few have none that a model can learn masks."""
        return self.masked > 0 and self.objects - self.masked <= LEFT_OUT_BUDGET * self.objects

    def told(self) -> tuple[str, ...]:
        """A sentence where masks are passed over."""
        if self.most or not self.masked:
            return ()
        return (
            f"{self.objects - self.masked:,} of the {self.objects:,} training objects looked at have no mask, so that "
            "boxes alone are learned; data.source.masks=true learns masks",
        )


class LostObjects:
    """A count of the objects that the training transform removes."""

    def __init__(self) -> None:
        self.before = self.after = 0
        self._told = False

    def add(self, counts: Iterable[tuple[int, int]]) -> str:
        """Add (before, after) of some images.

        Returns:
            A sentence, once, as soon as most of many objects are gone; else nothing.
        """
        for before, after in counts:
            self.before, self.after = self.before + before, self.after + after
        lost = self.before - self.after
        if self._told or self.before < MANY_OBJECTS or lost <= MOST_LOST * self.before:
            return ""
        self._told = True
        return (
            f"train: the transforms removed {lost:,} of the first {self.before:,} objects, which were cut away or "
            "smaller than a pixel: compare data.train_transform with the sizes of images and boxes (visionattn data "
            "doctor)"
        )


def check_share(left_out: Tally, listed: int, share: float, what: str) -> None:
    """Compare what was left out with its budget.

    Raises:
        DataError: it is more than ``share`` of what is listed; the message has every reason with an example.
    """
    if left_out.total > share * listed + 1e-9:
        raise DataError(
            f"{left_out.total:,} of the {listed:,} {what} are left out, more than data.left_out_budget={share:g} "
            f"allows: {left_out.explained()}; see visionattn data doctor, or raise data.left_out_budget"
        )


def check_masks(split: str, records: CocoRecords, share: float) -> None:
    """Compare the objects without a mask of a split, for a model that learns masks, with their budget.

    Evaluation goes on without masks: the figures of masks are -1 then.

    Raises:
        DataError: no training object has a mask, or more than ``share`` have none.
    """
    notes = records.annotations
    if split != "train":
        return
    if not notes.has_mask.any():
        raise DataError(
            f"{records.file}: none of the {len(notes.labels):,} objects has a mask, which the model learns from "
            f"({notes.unmasked.explained()}); add masks, or take a head for boxes alone, e.g. head=faster_rcnn"
        )
    check_share(notes.unmasked, notes.listed, share, f"{split} masks")


def unlearned(split: str, records: CocoRecords, train: CocoRecords) -> str:
    """A sentence about classes that a split has objects of and the training split has none; else nothing."""
    count = len(records.class_names)
    here, there = (np.bincount(one.annotations.labels, minlength=count) for one in (records, train))
    names = [f"{records.class_names[label]} ({here[label]})" for label in np.flatnonzero((here > 0) & (there == 0))]
    if not names:
        return ""
    return f"{split}: objects of classes that no training image shows, which cannot be learned: {some(names)}"


def same_categories(split: str, records: SizedImages[Any], other: str, known: SizedImages[Any]) -> None:
    """Compare the categories of two splits.

    Raises:
        DataError: they differ; the message names up to eight of them.
    """
    before, now = (list(zip(one.category_ids, one.class_names, strict=True)) for one in (known, records))
    if before == now:
        return
    only = [f"{name} (id {number}) only in {other}" for number, name in before if (number, name) not in now]
    only += [f"{name} (id {number}) only in {split}" for number, name in now if (number, name) not in before]
    more = ", ..." if len(only) > 8 else ""
    alike = [name for _, name in before] == [name for _, name in now]
    remedy = "; their names are the same: give each the same id in both files" if alike else ""
    raise DataError(f"the categories of {other} and {split} differ: {', '.join(only[:8])}{more}{remedy}")


def namesakes(records: SizedImages[Any]) -> str:
    """A sentence about categories of one name, which are different classes; else nothing."""
    ids: dict[str, list[str]] = {}
    for number, name in zip(records.category_ids, records.class_names, strict=True):
        ids.setdefault(name, []).append(str(number))
    alike = [f"{name!r} (ids {' and '.join(found)})" for name, found in ids.items() if len(found) > 1]
    return f"categories of one name are learned as different classes: {some(alike)}" if alike else ""
