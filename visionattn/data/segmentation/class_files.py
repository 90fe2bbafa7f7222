"""Files beside masks that name the classes, and perhaps the color that each is drawn in.

Only text is read here, so that the command line can ask.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visionattn.data.folders import read_list
from visionattn.errors import DataError

Color = tuple[int, int, int]
"""Red, green and blue in 0..255."""
_COLORED = ("labelmap.txt", "label_colors.txt")
LISTS = ("classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "names.txt", *_COLORED)
TABLES = ("_classes.csv", "classes.csv", "class_dict.csv", "labels.csv")
JSONS = ("classes.json", "class_names.json", "id2label.json", "labels.json")
_NUMBERED = re.compile(r"^(\d+)\s*[:;,=\s]\s*(.+)$")
_CVAT, _CAMVID = re.compile(r"^([^:]+):(\d+),(\d+),(\d+)(?::|$)"), re.compile(r"^(\d+)\s+(\d+)\s+(\d+)\s+(.+)$")
_NOWHERE = ("void", "ignore", "ignored")


@dataclass(frozen=True)
class ClassFile:
    """What a file says of the classes.

    Attributes:
        path: of the file.
        names: stored number -> name.
        colors: stored number -> its color in masks that are drawn in color; empty: the file has none.
    """

    path: Path
    names: Mapping[int, str]
    colors: Mapping[int, Color] = field(default_factory=dict)

    @property
    def nowhere(self) -> list[int]:
        """Numbers of pixels that count nowhere: with a color, and called ``void`` or ``ignore``."""
        return [number for number in self.colors if self.names[number].lower() in _NOWHERE]


def class_file(root: Path) -> ClassFile | None:
    """The first file of class names below a root; None: there is none.

    Known are lists (``classes.txt``, one name a line, perhaps after its number), CVAT's ``labelmap.txt``
    (``name:r,g,b:``) and CamVid's ``label_colors.txt`` (``r g b name``), tables (Roboflow's ``_classes.csv``;
    ``class_dict.csv`` of name, r, g, b), and JSON (a list, or number -> name). A file with colors goes first.

    Raises:
        DataError: the file is something else, or gives two classes one color.
    """
    first = None
    for folder in (root, root / "train"):
        for names, reader in ((LISTS, _from_lines), (TABLES, _from_table), (JSONS, _from_json)):
            for name in names:
                if (folder / name).is_file():
                    found = reader(folder / name)
                    _refuse_equal(found)
                    if found.colors:
                        return found
                    first = first or found
    return first


def _refuse_equal(found: ClassFile) -> None:
    owners: dict[Color, int] = {}
    for number, color in found.colors.items():
        if color in owners:
            both = f"{found.names[owners[color]]} and {found.names[number]}"
            raise DataError(f"{found.path} gives {both} one color, {','.join(map(str, color))}")
        owners[color] = number


def _colored(path: Path, rows: Sequence[tuple[str, Sequence[str]]]) -> ClassFile:
    """Names with their colors, in the order of their numbers."""
    colors = {number: (int(rgb[0]), int(rgb[1]), int(rgb[2])) for number, (_, rgb) in enumerate(rows)}
    wrong = next((color for color in colors.values() if max(color) > 255), None)
    if wrong is not None:
        raise DataError(f"{path} has a color {','.join(map(str, wrong))}; red, green and blue run from 0 to 255")
    return ClassFile(path, {number: name.strip() for number, (name, _) in enumerate(rows)}, colors)


def _from_lines(path: Path) -> ClassFile:
    lines = [line for line in read_list(path) if not line.startswith("#")]
    if path.name in _COLORED:
        cvat, camvid = ([pattern.match(line) for line in lines] for pattern in (_CVAT, _CAMVID))
        if lines and all(cvat):
            return _colored(path, [(match[1], match.groups()[1:]) for match in cvat if match])
        if lines and all(camvid):
            return _colored(path, [(match[4], match.groups()[:3]) for match in camvid if match])
    numbered = [_NUMBERED.match(line) for line in lines]
    if lines and all(numbered):
        return ClassFile(path, {int(match[1]): match[2].strip() for match in numbered if match})
    if path.name == "labelmap.txt":  # name:color:parts:actions, without colors
        lines = [line.split(":")[0].strip() for line in lines]
    return ClassFile(path, dict(enumerate(lines)))


def _from_table(path: Path) -> ClassFile:
    rows = [[cell.strip() for cell in row] for row in csv.reader(read_list(path)) if row]
    found = {int(row[0]): row[1] for row in rows if len(row) >= 2 and row[0].isdigit()}
    if not found and rows and rows[0][0].lower() == "name":  # name and color, in the order of the numbers
        if all(len(row) >= 4 and all(cell.isdigit() for cell in row[1:4]) for row in rows[1:]):
            return _colored(path, [(row[0], row[1:4]) for row in rows[1:]])
        found = dict(enumerate(row[0] for row in rows[1:]))
    if not found:
        raise DataError(f"{path} is no table of classes: expected rows of a number and a name, or of name, r, g, b")
    return ClassFile(path, found)


def _from_json(path: Path) -> ClassFile:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, list):
            return ClassFile(path, {number: str(name) for number, name in enumerate(content)})
        return ClassFile(path, {int(number): str(name) for number, name in content.items()})
    except (ValueError, AttributeError, OSError) as error:
        raise DataError(f"{path} is no list of class names, nor a table from numbers to names: {error}") from None
