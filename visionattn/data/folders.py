"""Which files of a folder are images of the data set, and what was left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from timm.utils.misc import natural_key

from visionattn.data.names import is_image, is_visible
from visionattn.data.text import decoded
from visionattn.errors import DataError

_SHOWN = 4


@dataclass
class LeftOut:
    """Entries of folders that are not part of a data set, counted by what they are.

    Attributes:
        hidden: names of hidden folders and of those of systems, with how often each was met.
        endings: endings of files that are no readable images, with how many there are.
        loops: links that lead back to a folder above them.
    """

    hidden: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)

    def sentences(self, where: str) -> list[str]:
        """What was left out of a folder, for the user; empty if nothing was."""
        parts = []
        if self.hidden:
            parts.append(f"{sum(self.hidden.values())} hidden or system entries ({_some(self.hidden)})")
        if self.endings:
            counts = [f"{count} {ending or 'without an ending'}" for ending, count in self.endings.most_common(_SHOWN)]
            more = ", ..." if len(self.endings) > _SHOWN else ""
            parts.append(f"{sum(self.endings.values())} files of other kinds ({', '.join(counts)}{more})")
        if self.loops:
            parts.append(f"{len(self.loops)} links that lead back to a folder above them ({_some(self.loops)})")
        return [f"left out of {where}: {'; '.join(parts)}"] if parts else []


def images_below(folder: Path, left_out: LeftOut | None = None, root: Path | None = None) -> list[str]:
    """Paths of all images below a folder, relative to it or to a root, with forward slashes, in natural order.

    Links to folders are followed, but not back to a folder above. Hidden entries and files of other kinds are left out.

    Args:
        folder: to look into, at any depth.
        left_out: where the others are counted.
        root: the folder or one above.
    """
    found: list[str] = []
    prefix = "" if root is None else f"{folder.relative_to(root).as_posix()}/"
    _walk(folder, prefix, (os.path.realpath(folder),), found, LeftOut() if left_out is None else left_out)
    return sorted(found, key=natural_key)


def _walk(folder: Path, prefix: str, chain: tuple[str, ...], found: list[str], left_out: LeftOut) -> None:
    for entry in os.scandir(folder):
        path = f"{prefix}{entry.name}"
        if not is_visible(entry.name):
            left_out.hidden[entry.name] += 1
        elif entry.is_dir():
            real = os.path.realpath(entry.path)
            if entry.is_symlink() and any(_holds(real, above) for above in chain):
                left_out.loops.append(path)
            else:
                _walk(Path(entry.path), f"{path}/", (*chain, real), found, left_out)
        elif is_image(entry.name):
            found.append(path)
        else:
            left_out.endings[os.path.splitext(entry.name)[1].lower()] += 1


def _holds(folder: str, other: str) -> bool:
    return other == folder or other.startswith(folder.rstrip(os.sep) + os.sep)


def visible_folders(path: Path, left_out: LeftOut | None = None) -> list[str]:
    """Names of the folders in a folder that can be part of a data set, in natural order."""
    names, other = [], LeftOut() if left_out is None else left_out
    for entry in os.scandir(path):
        if not is_visible(entry.name):
            other.hidden[entry.name] += 1
        elif entry.is_symlink() and _holds(os.path.realpath(entry.path), os.path.realpath(path)):
            other.loops.append(entry.name)
        elif entry.is_dir():
            names.append(entry.name)
    return sorted(names, key=natural_key)


def read_list(path: Path) -> list[str]:
    """The lines of a text file that are not empty, stripped; UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    try:
        text = decoded(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8 or UTF-16 (byte {error.start} is {error.object[error.start]:#04x}): "
            "save it as UTF-8"
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def some(names: Sequence[str], shown: int = 8) -> str:
    """The first names, and how many more there are, as text."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def without_ending(path: str) -> str:
    """A path without the ending of its last part."""
    return str(PurePosixPath(path).with_suffix(""))


def _some(names: Counter[str] | list[str]) -> str:
    return some(sorted(set(names)), _SHOWN)
