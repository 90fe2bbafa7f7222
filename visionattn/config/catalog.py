"""What conf/ holds: its files, its groups and the choices in them, read from the names alone, without Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SOURCE = "pkg://visionattn.conf"


def source_file(relative: str) -> Any:
    """The package's own conf/ file of that relative name (a path-like resource), or None."""
    found = source_root().joinpath(*relative.split("/"))
    return found if found.is_file() else None


def source_root() -> Any:
    """The folder of the package's YAML, as a path-like resource."""
    if SOURCE.startswith("file://"):
        return Path(SOURCE.removeprefix("file://"))
    from importlib.resources import files

    return files(SOURCE.removeprefix("pkg://"))


def choices(group: str, config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Names of the YAML files of a group and, as `folder/name`, of the folders in it, without importing Hydra. A
    leading underscore or the name `base` marks a part, not a choice.
    """
    names: set[str] = set()
    for root in (source_root(), *(Path(folder) for folder in config_dirs)):
        names.update(_yaml_names(root.joinpath(*group.split("/"))))
    return sorted(name for name in names if is_choice(name))


def is_choice(name: str) -> bool:
    """Whether a YAML file, also one in a folder of its group, is a choice and not a part."""
    last = name.rpartition("/")[2]
    return not last.startswith("_") and last != "base"


def _yaml_names(folder: Any, prefix: str = "") -> Iterator[str]:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir():
            yield from _yaml_names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name[:-5]


def groups(config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Names of the groups (folders of conf/)."""
    roots = (source_root(), *(Path(folder) for folder in config_dirs))
    names = {folder.name for root in roots for folder in root.iterdir() if folder.is_dir()}
    return sorted(name for name in names if not name.startswith(("_", ".")) and name != "hydra")
