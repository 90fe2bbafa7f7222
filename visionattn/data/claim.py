"""Folders of drawn image sets: a file records how a set was made, and folders that hold anything else are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionattn.errors import DataError
from visionattn.files import write_whole


def claim(root: Path, marker: str, settings: Mapping[str, Any]) -> None:
    """Take a folder for a set that is about to be drawn, and record its settings there.

    Args:
        root: the folder; it is made.
        marker: name of the recording file, ``shapes.json`` for shapes.
        settings: of the set.

    Raises:
        DataError: the folder holds anything else than the same set.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file, not a folder")
    if (root / marker).is_file():
        written = json.loads((root / marker).read_text(encoding="utf-8"))
        differing = [f"{key}={written.get(key)}" for key, value in settings.items() if written.get(key) != value]
        if differing:
            raise DataError(
                f"{root} holds {Path(marker).stem} made with other settings ({', '.join(differing)}); "
                "take another folder"
            )
    elif root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root} is not empty and was not made by this command; take another folder")
    root.mkdir(parents=True, exist_ok=True)
    record(root, marker, {**settings, "complete": False})


def record(root: Path, marker: str, content: Mapping[str, Any]) -> None:
    """Write the recording file."""
    write_whole(root / marker, json.dumps(content, indent=2) + "\n")
