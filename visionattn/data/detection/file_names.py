"""Names of image files as annotation files write them: with backslashes, or with the folders of another machine."""

from __future__ import annotations

import re
from pathlib import Path

_ABSOLUTE = re.compile(r"(file:)?/|[A-Za-z]:[/\\]")


def name_below(folder: Path, name: str) -> str:
    """What a file is called below a folder: its name with slashes, without the folders that another machine had.

    Of an absolute path that is no file here the longest end that is a file below the folder is taken.

    Args:
        folder: of the images.
        name: as the annotation file writes it.
    """
    if (folder / name).is_file():
        return name
    slashed = name.replace("\\", "/")
    if not _ABSOLUTE.match(name):
        return slashed
    parts = slashed.split("/")
    ends = ("/".join(parts[first:]) for first in range(1, len(parts)) if parts[first])
    return next((end for end in ends if (folder / end).is_file()), slashed)
