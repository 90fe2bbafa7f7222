"""What conf/ holds: its files, its groups and the choices in them, read from the names alone, without Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SOURCE = "pkg://visionattn.conf"
_PLURALS = ("data", "debug", "callbacks", "optim")  # groups whose names are their own plural


def source_file(relative: str) -> Any:
    """The package's own conf/ file of that relative name (a path-like resource), or None."""
    file = source_root().joinpath(*relative.split("/"))
    return file if file.is_file() else None


def source_root() -> Any:
    """The folder of the package's YAML, as a path-like resource."""
    if SOURCE.startswith("file://"):
        return Path(SOURCE.removeprefix("file://"))
    from importlib.resources import files

    return files(SOURCE.removeprefix("pkg://"))


def choices(group: str, config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """Names of the YAML files of a group and, as ``folder/name``, of the folders in it, without importing Hydra.

    A leading underscore or the name ``base`` marks a part, not a choice.
    """
    names: set[str] = set()
    for root in (source_root(), *(Path(folder) for folder in config_dirs)):
        names.update(_yaml_names(root.joinpath(*group.split("/"))))
    return sorted(name for name in names if is_choice(name))


def kind_of(group: str) -> str:
    """The word for a group in ``visionattn list``, such as ``backbones`` for backbone."""
    return group if group in _PLURALS else f"{group}s"


def is_choice(name: str) -> bool:
    """Whether a YAML file, also one in a folder of its group, is a choice and not a part."""
    last = name.rpartition("/")[2]
    return not last.startswith("_") and last != "base"


def read(path: Any) -> dict[str, Any]:
    """The contents of a YAML file."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
    contents = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return contents if isinstance(contents, dict) else {}


def header(text: str) -> list[str]:
    """The comment lines of a YAML file, the package header left out."""
    lines = (line for line in text.splitlines() if line.startswith("#") and "@package" not in line)
    return [line.removeprefix("#").removeprefix(" ").rstrip() for line in lines]


def with_parts(group: str, name: str) -> dict[str, Any]:
    """What a file of the package says, over what the parts (``_name``) in its defaults say, merged as Hydra does it.

    The defaults of the parts come first; other entries of the defaults are not followed.
    """
    contents = read(source_root().joinpath(group, f"{name}.yaml"))
    defaults: list[Any] = []
    merged: dict[str, Any] = {}
    for entry in contents.pop("defaults", ()):
        if isinstance(entry, str) and entry.startswith("_") and entry != "_self_":
            part = with_parts(group, entry)
            defaults += part.pop("defaults")
            merged = _merged(merged, part)
        else:
            defaults.append(entry)
    return {**_merged(merged, contents), "defaults": defaults}


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below.get(key), value) for key, value in above.items()}


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
