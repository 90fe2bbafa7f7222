"""One pass over a COCO annotation file that checks and normalizes images and categories, and numbers them.

Training, evaluation and ``visionattn data doctor`` read detection and panoptic files through it. What can be mended is
mended and counted; what cannot be right is left out and counted, with the reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionattn.data.detection.file_names import name_below
from visionattn.data.detection.tally import Tally
from visionattn.data.detection.values import IdTable, as_flag, as_text, as_whole, numbered, rising, usable_id
from visionattn.data.facts import header_size
from visionattn.errors import DataError

NO_IMAGE = "annotations whose image_id is unknown"
NO_CATEGORY = "unknown categories"
_Found = tuple[Any, str, int, int, dict[str, Any]]
"""Id, name, height, width and entry of an image."""


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of the file.

    Attributes:
        number: of the image in everything that is computed; the file's id where all ids are whole numbers.
        id: as in the file.
        name: of the image file.
        height: in pixels.
        width: in pixels.
        entry: as in the file.
    """

    number: int
    id: Any
    name: str
    height: int
    width: int
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CocoCategory:
    """A category of the file: its id and entry there, its name, and whether it is a thing (None: it is not said)."""

    id: Any
    name: str
    thing: bool | None
    entry: dict[str, Any]


@dataclass
class CocoFile:
    """An annotation file, checked.

    Attributes:
        path: the file.
        images: those that can be used, in the order of the file.
        categories: label k is the k-th id in rising order.
        annotations: the entries of the file that are objects, as they stand there.
        dropped: what is left out, by reason.
        repaired: what was mended, by reason.
        listed: number of entries in the file's list of annotations.
    """

    path: Path
    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[dict[str, Any]]
    dropped: Tally
    repaired: Tally
    listed: int
    _left_out: IdTable = field(default_factory=lambda: IdTable([]))

    def __post_init__(self) -> None:
        self._images = IdTable(image.id for image in self.images)
        self._categories = IdTable(category.id for category in self.categories)

    @property
    def category_ids(self) -> list[Any]:
        """The file's id of label 0, 1, ..."""
        return [category.id for category in self.categories]

    @property
    def class_names(self) -> list[str]:
        """The name of label 0, 1, ..."""
        return [category.name for category in self.categories]

    def find_image(self, image_id: Any) -> int | None:
        """Index of the image with an id of another file; None: there is none."""
        index = self._images.exact(image_id)
        return self._images.loose(image_id) if index is None else index

    def find_category(self, category_id: Any) -> int | None:
        """Label of a category id of another file; None: there is none."""
        label = self._categories.exact(category_id)
        return self._categories.loose(category_id) if label is None else label

    def image_of(self, annotation: dict[str, Any]) -> int | None:
        """Index of the image that an annotation belongs to; None: it is counted as left out."""
        value = annotation.get("image_id")
        index = self._images.exact(value)
        if index is not None:
            return index
        index = self._images.loose(value)
        if index is not None:
            self.repaired.add("image_id values of another type than the images' ids", f"image_id {value!r}")
            return index
        gone = self._left_out.exact(value) is not None
        reason = "annotations of images that are left out" if gone else NO_IMAGE
        self.dropped.add(reason, f"annotation {annotation.get('id')}: image_id {value}")
        return None

    def label_of(self, entry: dict[str, Any]) -> int | None:
        """Label of an annotation or a segment; None: its category is unknown, which the caller counts."""
        value = entry.get("category_id")
        label = self._categories.exact(value)
        if label is None:
            label = self._categories.loose(value)
            if label is not None:
                self.repaired.add(
                    "category_id values of another type than the categories' ids", f"category_id {value!r}"
                )
        return label


def read_coco(content: dict[str, Any], path: Path, folder: Path | None = None) -> CocoFile:
    """Check images and categories of a file.

    Args:
        content: of the file, see :func:`visionattn.data.detection.json_file.read_json`.
        path: the file, for messages.
        folder: of the images, whose headers tell the sizes that the file does not state.

    Raises:
        DataError: there are no categories, or two share an id.
    """
    dropped, repaired = Tally(), Tally()
    categories = read_categories(content, path, repaired)
    checked = _Images(folder, dropped, repaired)
    images = checked.read(content["images"])
    annotations = list(_objects(content["annotations"], "annotations", dropped))
    listed = len(content["annotations"])
    return CocoFile(path, images, categories, annotations, dropped, repaired, listed, IdTable(checked.left_out))


def _objects(entries: list[Any], what: str, dropped: Tally) -> Iterator[dict[str, Any]]:
    for place, entry in enumerate(entries):
        if isinstance(entry, dict):
            yield entry
        else:
            dropped.add(f"entries of {what} that are no objects", f"entry {place} is {str(entry)[:60]}")


class _Images:
    """The images of a file, checked; what is wrong goes into the tallies, and the ids of such images are kept."""

    def __init__(self, folder: Path | None, dropped: Tally, repaired: Tally) -> None:
        self.folder, self.dropped, self.repaired = folder, dropped, repaired
        self.left_out: set[Any] = set()

    def read(self, entries: list[Any]) -> list[CocoImage]:
        found = []
        for entry in _objects(entries, "images", self.repaired):
            number, name = usable_id(entry.get("id")), self._name(entry)
            if number is None:
                self.dropped.add("images without an id", f"file_name {entry.get('file_name')}, id {entry.get('id')!r}")
            elif name is None:
                self._leave_out(number, "images without a file_name", f"file_name {entry.get('file_name')!r}")
            elif os.path.normpath(name).startswith("../.."):
                self._leave_out(number, "images whose file_name leads out of the data set", f"file_name {name!r}")
            else:
                size = self._size(entry, name)
                if size is not None:
                    found.append((number, name, *size, entry))
                else:
                    where = f"{name}: height {entry.get('height')!r}, width {entry.get('width')!r}"
                    self._leave_out(number, "images without height and width, whose file cannot be read", where)
        kept = self._different(found)
        numbers = numbered([image[0] for image in kept])
        return [CocoImage(number, *image) for number, image in zip(numbers, kept, strict=True)]

    def _leave_out(self, number: Any, reason: str, where: str) -> None:
        self.dropped.add(reason, f"image {number}: {where}")
        self.left_out.add(number)

    def _name(self, entry: dict[str, Any]) -> str | None:
        value = entry.get("file_name")
        name = as_text(value)
        if name is not None and not isinstance(value, str):
            self.repaired.add("file names that are no text", f"file_name {value!r}")
        if name is None or self.folder is None or not ("\\" in name or Path(name).is_absolute()):
            return name
        own = name_below(self.folder, name)
        if own != name:
            how = "backslashes" if own == name.replace("\\", "/") else "folders of another machine"
            self.repaired.add(f"file names with {how}", name)
        return own

    def _size(self, entry: dict[str, Any], name: str) -> tuple[int, int] | None:
        height, width = entry.get("height"), entry.get("width")
        if type(height) is int and type(width) is int and height > 0 and width > 0:
            return height, width
        stated, where = (as_whole(height), as_whole(width)), f"{name}: height {height!r}, width {width!r}"
        if stated[0] and stated[1] and min(stated[0], stated[1]) > 0:
            self.repaired.add("sizes that are no whole numbers", where)
            return stated[0], stated[1]
        size = header_size(self.folder / name) if self.folder is not None else None
        if size is not None:
            self.repaired.add("sizes that were read from the image files", where)
        return size

    def _different(self, found: list[_Found]) -> list[_Found]:
        """The images without those listed twice; other images of one id are all left out."""
        counts = Counter(image[0] for image in found)
        if len(counts) == len(found):
            return found
        names: dict[Any, set[str]] = {}
        for number, name, *_ in found:
            names.setdefault(number, set()).add(name)
        kept: dict[Any, _Found] = {}
        for image in found:
            if len(names[image[0]]) > 1:
                self._leave_out(image[0], "images that share their id with another image", image[1])
            elif image[0] in kept:
                self.repaired.add("images that are listed twice", f"image {image[0]}: {image[1]}")
            else:
                kept[image[0]] = image
        return list(kept.values())


def _only_groups(found: dict[Any, CocoCategory], annotations: list[Any]) -> bool:
    """Whether category 0 is the one that Roboflow adds: it stands above all others, and no object has it."""
    first, others = found.get(0), [one.entry.get("supercategory") for number, one in found.items() if number != 0]
    if first is None or first.entry.get("supercategory") not in (None, "", "none"):
        return False
    if not others or any(name != first.name for name in others):
        return False
    entries = [one for one in annotations if isinstance(one, dict)]
    segments = (part for one in entries for part in one.get("segments_info") or () if isinstance(part, dict))
    return not any(usable_id(one.get("category_id")) in (0, "0") for one in (*entries, *segments))


def read_categories(content: dict[str, Any], path: Path, repaired: Tally | None = None) -> list[CocoCategory]:
    """The categories in rising order of their ids.

    Raises:
        DataError: none, or an id with two names.
    """
    found: dict[Any, CocoCategory] = {}
    repaired = Tally() if repaired is None else repaired
    for entry in content["categories"]:
        number = usable_id(entry.get("id")) if isinstance(entry, dict) else None
        if number is None:
            repaired.add("categories without an id, which are left out", str(entry)[:60])
            continue
        name = as_text(entry.get("name"))
        if name is None:
            name = f"category {number}"
            repaired.add("categories without a name", f"id {number} is called {name!r}")
        elif not isinstance(entry["name"], str):
            repaired.add("names of categories that are no text", f"id {number}: {entry['name']!r}")
        given = entry.get("isthing")
        category = CocoCategory(number, name, None if given is None else as_flag(given), entry)
        if number in found and found[number].name != name:
            raise DataError(
                f"{path}: category ids occur twice: {number} is {found[number].name!r} and {name!r}; "
                "give each category its own id"
            )
        if number in found:
            repaired.add("categories that are listed twice", f"id {number}: {name}")
        found.setdefault(number, category)
    if not found:
        raise DataError(f"{path}: there are no categories")
    if _only_groups(found, content["annotations"]):
        repaired.add("categories that only group the others (Roboflow's first), which are left out", found.pop(0).name)
    return [found[number] for number in sorted(found, key=rising)]
