"""``visionattn list``: the names in a group of conf/, with what their files say about them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from visionattn.config.catalog import choices, groups, header, kind_of, read, source_file
from visionattn.config.messages import nearest
from visionattn.errors import ConfigError

_PRESETS = "mixer"  # the group whose folders hold presets of what the group itself holds

_WIDE = 120  # columns


def show_list(words: Sequence[str], config_dirs: Sequence[str] = ()) -> int:
    """Prints the table of a kind, names filtered by shell patterns.

    Presets are shown when they are asked for: ``list presets``, or a pattern with a slash.
    """
    kinds = {kind_of(group): group for group in groups(config_dirs) if choices(group, config_dirs)}
    every = [*kinds, "presets"] if _PRESETS in kinds.values() else list(kinds)
    as_json, words = "json=true" in words, [word for word in words if word != "json=true"]
    if not words:
        raise ConfigError(f"list needs a kind: {', '.join(every)}")
    kind, *patterns = words
    group = kinds.get(kind) or (kind if kind in kinds.values() else _PRESETS if kind in every else None)
    if group is None:
        raise ConfigError(f"cannot list {kind}{nearest(kind, every)} (kinds: {', '.join(every)})")
    known = choices(group, config_dirs)
    presets = [name for name in known if "/" in name] if group == _PRESETS else []
    hidden = [] if kind == "presets" else presets
    if kind == "presets":
        known = presets
    names = _matching(known, patterns, hidden)
    if not names:
        raise ConfigError(f"no {group} matches {' '.join(patterns)}; available: {', '.join(known)}")
    if group == "experiment" and len(names) == 1 and not as_json:
        from visionattn.cli.recipes import show_recipe

        return show_recipe(names[0], _text(f"experiment/{names[0]}.yaml", config_dirs), config_dirs)
    if as_json:
        print(json.dumps([_entry(group, name, config_dirs) for name in names], indent=2))
        return 0
    rows = [_row(group, name, config_dirs) for name in names]
    _print(rows, ["name", "params", "GMACs", "top-1", "weights", "about"] if group == "backbone" else ["name", "about"])
    if group == "experiment":
        print("\none of them, with its command and its source: visionattn list experiments NAME")
    elif hidden and not patterns:
        folders = list(dict.fromkeys(name.partition("/")[0] for name in hidden))
        print(f"\n{len(hidden)} presets, as published models have them: visionattn list presets")
        print(f"those of one paper: visionattn list {kind} '{folders[0]}/*'")
        print(textwrap.fill(f"the papers: {', '.join(folders)}", width=80, subsequent_indent="  "))
    return 0


def _matching(names: list[str], patterns: Sequence[str], hidden: Sequence[str]) -> list[str]:
    """The names that a pattern matches, all without one; a hidden name only for a pattern with a slash."""

    def shown(name: str) -> bool:
        asked = [pattern for pattern in patterns if name not in hidden or "/" in pattern]
        return any(fnmatch(name, pattern) for pattern in asked) if patterns else name not in hidden

    return [name for name in names if shown(name)]


def _entry(group: str, name: str, config_dirs: Sequence[str]) -> dict[str, Any]:
    """What a row shows, as plain values."""
    relative = f"{group}/{name}.yaml"
    entry: dict[str, Any] = {"name": name, "about": next(iter(header(_text(relative, config_dirs))), "")}
    if group == "backbone":
        card: dict[str, Any] = read(_file(relative, config_dirs)).get("card") or {}
        weights = [where for where in ("timm", "official") if (card.get("weights") or {}).get(where)]
        entry |= {key: card.get(key) for key in ("params", "gmacs", "top1")} | {"weights": weights}
    return entry


def _row(group: str, name: str, config_dirs: Sequence[str]) -> list[str]:
    entry = _entry(group, name, config_dirs)
    if group != "backbone":
        return [name, entry["about"]]
    return [
        name,
        f"{entry['params'] / 1e6:.2f} M" if entry["params"] else "",
        f"{entry['gmacs']:.2f}" if entry["gmacs"] else "",
        f"{entry['top1']:.1f}" if entry["top1"] else "",
        " ".join(entry["weights"]),
        entry["about"],
    ]


def _file(relative: str, config_dirs: Sequence[str]) -> Any:
    file = source_file(relative)
    return file or next(path for folder in config_dirs if (path := Path(folder) / relative).is_file())


def _text(relative: str, config_dirs: Sequence[str]) -> str:
    return str(_file(relative, config_dirs).read_text(encoding="utf-8"))


def _print(rows: list[list[str]], titles: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from visionattn.runs.table import print_whole

    console = Console()
    if len(titles) > 2 and console.is_terminal and console.width < _WIDE:  # what a model is, in a wide window alone
        titles, rows = titles[:-1], [row[:-1] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in titles:
        left, whole = title in ("name", "weights", "about"), title != "about"
        table.add_column(title, justify="left" if left else "right", no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_whole(table, console)
