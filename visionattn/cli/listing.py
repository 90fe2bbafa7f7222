"""``visionattn list``: the names in a group of conf/, with what their files say about them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from visionattn.config.catalog import choices, groups, source_file
from visionattn.config.messages import nearest
from visionattn.errors import ConfigError

_PLURAL = {group: group for group in ("data", "debug", "callbacks", "optim")}


def show_list(words: Sequence[str], config_dirs: Sequence[str] = ()) -> int:
    """Prints the table of a kind, names filtered by a shell pattern."""
    kinds = {_PLURAL.get(group, f"{group}s"): group for group in groups(config_dirs) if choices(group, config_dirs)}
    if not words:
        raise ConfigError(f"say what to list: {', '.join(kinds)}")
    kind, *patterns = words
    group = kinds.get(kind) or (kind if kind in kinds.values() else None)
    if group is None:
        raise ConfigError(f"cannot list {kind}{nearest(kind, kinds)} (kinds: {', '.join(kinds)})")
    names = choices(group, config_dirs)
    if patterns:
        names = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        raise ConfigError(
            f"no {group} matches {' '.join(patterns)}; there are {', '.join(choices(group, config_dirs))}"
        )
    rows = [_row(group, name, config_dirs) for name in names]
    _print(rows, ["name", "params", "GMACs", "top-1", "about"] if group == "backbone" else ["name", "about"])
    return 0


def _row(group: str, name: str, config_dirs: Sequence[str]) -> list[str]:
    text = _text(f"{group}/{name}.yaml", config_dirs)
    comments = [line for line in text.splitlines() if line.startswith("#") and "@package" not in line]
    about = comments[0].lstrip("# ").strip() if comments else ""
    if group != "backbone":
        return [name, about]
    card: dict[str, Any] = (yaml.safe_load(text) or {}).get("card") or {}
    params, gmacs, top1 = card.get("params"), card.get("gmacs"), card.get("top1")
    return [
        name,
        f"{params / 1e6:.2f} M" if params else "",
        f"{gmacs:.2f}" if gmacs else "",
        f"{top1:.1f}" if top1 else "",
        about,
    ]


def _text(relative: str, config_dirs: Sequence[str]) -> str:
    file = source_file(relative)
    if file is None:
        file = next(path for folder in config_dirs if (path := Path(folder) / relative).is_file())
    return str(file.read_text(encoding="utf-8"))


def _print(rows: list[list[str]], header: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in header:
        table.add_column(title, justify="left" if title in ("name", "about") else "right", no_wrap=title == "name")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
