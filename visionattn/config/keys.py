"""Every key of a composed configuration with its default, its type and a sentence about it.

A sentence stands in one place: in the docstring of the target that takes the key, or else as a comment behind the key
in its YAML file. The comment goes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from visionattn.config.catalog import header, read, source_file
from visionattn.config.docstrings import argument, first_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TYPES = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "mapping"}
_BUILDING = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


@dataclass(frozen=True)
class Key:
    """A key.

    Attributes:
        name: dotted.
        value: its value, as it is written.
        type: what it takes.
        sentence: what it is; empty where nobody says.
    """

    name: str
    value: Any
    type: str
    sentence: str


def keys_of(cfg: DictConfig, config_name: str) -> Iterator[Key]:
    """Every key of a composed configuration, in its order, groups' choices included.

    Args:
        cfg: with its ``hydra`` node, unresolved.
        config_name: its root file.
    """
    from visionattn.config.messages import unresolved_plain

    values: dict[str, Any] = unresolved_plain(cfg)
    choices = {str(name): str(value) for name, value in values.pop("hydra")["runtime"]["choices"].items() if value}
    told = dict(_comments(f"{config_name}.yaml"))
    for place, choice in choices.items():
        group, _, package = place.partition("@")
        if group.startswith("hydra"):
            continue
        if _is_global(group, choice):
            told = dict(_of_choice(group, choice)) | told
        else:
            told |= {_joined(package or group, key): text for key, text in _of_choice(group, choice)}
    yield from _walk(values, "", told)


def own_keys(config_name: str) -> list[Key]:
    """The keys of a root file itself, without those of the groups that it chooses from; nothing is composed."""
    file = source_file(f"{config_name}.yaml")
    values = read(file) if file is not None else {}
    own = {name: value for name, value in values.items() if name not in ("defaults", "hydra", "backbone", "task")}
    return list(_walk(own, "", dict(_comments(f"{config_name}.yaml"))))


def _walk(node: Mapping[str, Any], prefix: str, told: Mapping[str, str]) -> Iterator[Key]:
    target = str(node.get("_target_", "") or _measurement(node.get("measure")))
    for name, value in node.items():
        key = _joined(prefix, str(name))
        if name in _BUILDING:
            continue
        known = argument(target, str(name))
        inner = isinstance(value, dict) and bool(value)
        built = value.get("_target_") if isinstance(value, dict) else None
        sentence = told.get(key) or known.sentence or first_line(str(built))
        kind = str(built) if built else known.type or _TYPES.get(type(value), "any")
        yield Key(key, None if inner else value, kind, sentence)
        if isinstance(value, dict) and (target == "" or "measure" in node or built or _holds_built(value)):
            yield from _walk(value, key, told)


def _measurement(name: Any) -> str:
    """The function of a benchmark, whose arguments are the keys."""
    own = {"simulate": "kernels.simulate"}.get(str(name), f"{name}.run_{name}")
    return f"visionattn.benchmarks.{own}" if name else ""


def _holds_built(value: Mapping[str, Any]) -> bool:
    """Whether a plain mapping holds what is built, as that of the mixers; the keys of others are data."""
    return any(isinstance(one, dict) and "_target_" in one for one in value.values())


def _of_choice(group: str, choice: str) -> Iterator[tuple[str, str]]:
    """Comments of a file of a group, those of the parts that it inherits first."""
    path = f"{group}/{choice}.yaml"
    file = source_file(path)
    if file is None:
        return
    for entry in read(file).get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_" and not entry.startswith("/"):
            folder = choice.rpartition("/")[0]
            yield from _of_choice(group, f"{folder}/{entry}".lstrip("/"))
    yield from _comments(path)


def _is_global(group: str, choice: str) -> bool:
    file = source_file(f"{group}/{choice}.yaml")
    return file is not None and "@package _global_" in file.read_text(encoding="utf-8")


def _comments(path: str) -> Iterator[tuple[str, str]]:
    """Key and comment of every line of a YAML file that has one behind its key."""
    file = source_file(path)
    if file is None:
        return
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if "/" in path and "@package _global_" not in text and header(text):
        yield "", header(text)[0]
    seen: set[int] = set()
    for key, node in _nodes(root, ""):
        line = node.start_mark.line
        behind = re.search(r"\s#\s*(.+)$", lines[line])
        if behind and line not in seen:
            yield key, behind[1]
        seen.add(line)


def _nodes(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            key = _joined(prefix, str(name.value))
            yield key, name
            yield from _nodes(value, key)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
