"""Hydra's composition errors as one sentence: what does not exist, what was probably meant, what there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionattn.config.catalog import is_choice, kind_of
from visionattn.config.messages import flat_keys, nearest, one_line, unresolved_plain, value_at
from visionattn.config.spelling import word_of_another_tool
from visionattn.errors import ConfigError, near_names

_KEY = re.compile(r"Could not (?:override|delete) '([^'=]+)|Could not delete from config\. '([^']+)' does not exist")
_LEFT_OUT = ("logger", "callbacks")  # groups that a run can do without
_LISTED = 60  # choices named in a message
_GROUP = re.compile(r"config group '([^']+)' does not exist")


def explain(error: Exception, hydra: Any, config_name: str, overrides: list[str]) -> ConfigError:
    """The ConfigError that stands for one of Hydra's errors."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from yaml import YAMLError

    if isinstance(error, OverrideParseException):
        return ConfigError(f"cannot read the override {error.override!r}: {one_line(error)}")
    if isinstance(error, MissingConfigException):
        return _missing(error, hydra, config_name, overrides)
    message = str(error)
    if isinstance(error, YAMLError):
        return ConfigError(f"this YAML file cannot be read: {' '.join(message.split())}")
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", message):
        key, _, value = ambiguous[1].partition("=")
        return ConfigError(
            f"{ambiguous[1]} gives several values: add -m to run each, or write a list as '{key}=[{value}]'"
        )
    if requires := re.search(r"Sweep parameters '(.+)' requires --multirun", message):
        return ConfigError(f"{requires[1]} gives several values: add -m to run each")
    if "Config group override must be a string or a list" in message:
        empty = next((word.partition("=")[0] for word in overrides if word.endswith("=null")), "GROUP")
        out = f": ~{empty} leaves it out" if empty in _LEFT_OUT else ""
        return ConfigError(f"{empty}=null names no file of the group {empty}{out}")
    if group := _GROUP.search(message):
        return ConfigError(f"unknown group {group[1]}{nearest(group[1], _groups(hydra))}")
    if (unknown := _KEY.search(message)) and not _wrong_value(error):
        return _unknown_key(unknown[1] or unknown[2], hydra, config_name, overrides)
    return ConfigError(_plain_text(error))


def _wrong_value(error: Exception) -> bool:
    from omegaconf.errors import ValidationError

    return isinstance(error.__cause__, ValidationError)


def _plain_text(error: BaseException) -> str:
    """Hydra's own sentence and the reason behind it, each on one line."""
    texts = [one_line(error)] if str(error).strip() else []
    if error.__cause__ is not None and one_line(error.__cause__) not in texts:
        texts.append(_plain_text(error.__cause__))
    return ": ".join(texts) or type(error).__name__


def _missing(error: Any, hydra: Any, config_name: str, overrides: Sequence[str]) -> ConfigError:
    path = str(error.missing_cfg_file or config_name)
    asked = (override.lstrip("+").partition("=")[0].partition("@")[0] for override in overrides)
    group = next((group for group in asked if path.startswith(f"{group}/")), path.rpartition("/")[0])
    name = path.removeprefix(f"{group}/")
    if not group:
        return ConfigError(f"unknown configuration {path}.yaml")
    options = [option for option in _options(hydra, group) if is_choice(option)]
    if not options:
        return ConfigError(f"unknown configuration {path}: there is no group {group}{nearest(group, _groups(hydra))}")
    own = [option for option in options if "/" not in option]
    every = f"Choices: {', '.join(sorted(own or options))}"
    if own and len(own) < len(options):
        every += f"; `visionattn list {kind_of(group)} '*/*'` lists {len(options) - len(own)} more"
    elif len(options) > _LISTED:
        every = f"`visionattn list {kind_of(group)}` lists all {len(options)}"
    told = f"unknown {group} {name}{_ended(nearest(name, options))} {every}"
    if name.lower() in ("none", "false", "off") and group in _LEFT_OUT:
        told = f"unknown {group} {name}. {every}; ~{group} leaves it out"
    if group == "optim":
        told += f"; optim=timm optim.opt={name} takes timm's of this name"
    if group == "data":
        folders = [path.name for path in Path.cwd().iterdir() if path.is_dir()]
        told += f"; a folder of your own is data=PATH, and there is none {name} here{nearest(name, folders)}"
    return ConfigError(told)


def _options(hydra: Any, group: str) -> list[str]:
    """What a group and the folders in it hold, as ``name`` and ``folder/name``."""
    loader = hydra.config_loader
    inner = [f"{sub}/{name}" for sub in _groups(hydra, group) for name in loader.get_group_options(sub)]
    return [*loader.get_group_options(group), *(name.removeprefix(f"{group}/") for name in inner)]


def _ended(hint: str) -> str:
    return hint or "."


def _groups(hydra: Any, parent: str = "") -> list[str]:
    names = [f"{parent}/{name}".lstrip("/") for name in hydra.config_loader.list_groups(parent) if name != "hydra"]
    return [group for name in names for group in (name, *_groups(hydra, name))]


def _unknown_key(key: str, hydra: Any, config_name: str, overrides: Sequence[str]) -> ConfigError:
    """The nearest key, and, where the key lies under something that exists, what that something holds."""
    if recipe := _set_by_the_recipe(key, overrides):
        return ConfigError(recipe)
    base = _without_values(hydra, config_name, overrides)
    if base is None:
        return ConfigError(f"unknown key {key}")
    selected = {
        str(name): value
        for name, value in unresolved_plain(base.hydra.runtime.choices).items()
        if not str(name).startswith("hydra/")
    }
    values = unresolved_plain(base)
    if key.split(".")[0] != "hydra":
        del values["hydra"]
    parent = key.rpartition(".")[0]
    while parent and _at(values, parent) is None:
        parent = parent.rpartition(".")[0]
    keys = [name for name in flat_keys(values) if "._" in key or "._" not in name]  # few mean a _target_
    candidates = [*keys, *selected, *_groups(hydra)]
    if parent and _chosen(parent, selected):  # a neighbor's key would not help after a swap
        candidates = [name for name in candidates if name.startswith(parent + ".")]
    value = next((word.partition("=")[2] for word in overrides if word.lstrip("+~").partition("=")[0] == key), "")
    everything = {*flat_keys(values), *selected, *_groups(hydra), "hydra.run.dir"}
    if told := _other_word(key, value, everything, selected):
        return ConfigError(told)
    hint = nearest(key, [name for name in candidates if not f"{key}.".startswith(f"{name}.")])
    if told := _of_another_library(key, value, values, selected):
        return ConfigError(told)
    text = f"unknown key {key}{hint}"
    if several := _several_places(key, text, hydra, selected):
        return ConfigError(several)
    swapped = any(name.endswith("@" + parent) for name in selected)
    add_keys = parent and (swapped or "did you mean" not in text)
    if add_keys:
        return ConfigError(f"{text} ({_holds(parent, values, selected)})")
    return ConfigError(text if hint else f"{text}{_near(key, candidates)}")


def _other_word(key: str, value: str, known: set[str], selected: dict[str, Any]) -> str:
    """A sentence with what to type instead of a key of another tool or of other data; empty: it is none of theirs."""
    if key == "data.root" and selected.get("data") == "digits":
        return f"data=digits reads no folder; data={value or 'DIR'} recognizes one of your own and trains on it"
    if key == "optim.opt":
        return f"optim.opt names one of timm's optimizers: optim=timm optim.opt={value or 'lamb'}"
    meant = word_of_another_tool(key, value, known)
    return f"unknown key {key}; did you mean {meant}?" if meant else ""


def _several_places(key: str, text: str, hydra: Any, selected: dict[str, Any]) -> str:
    """The places of a group that is chosen more than once, such as ``mixer``; empty for other keys."""
    group = key.split("@")[0]
    listed = ", ".join(name for name in selected if name.startswith(group + "@"))
    if not listed or group not in _groups(hydra):
        return ""
    return (
        f"{text} ({group} can be set at: {listed})" if "@" in key else f"{group} can be set in several places: {listed}"
    )


def _of_another_library(key: str, value: str, values: dict[str, Any], selected: dict[str, Any]) -> str:
    """How an argument that our files leave out reaches another library's class, such as ``lightning.Trainer``.

    Empty where the key is a misspelled one of the node, or the class is ours.
    """
    parent, _, argument = key.rpartition(".")
    node = _at(values, parent) or {}
    target = str(node.get("_target_", "visionattn"))
    if target.split(".")[0] == "visionattn" or near_names(argument, map(str, node), cutoff=0.8):
        return ""
    given = f"+{key}={value or 'VALUE'}"
    there = _holds(parent, values, selected)
    return f"unknown key {key}; if {target} has an argument {argument}, {given} passes it ({there})"


def _set_by_the_recipe(key: str, overrides: Sequence[str]) -> str:
    """The sentence for a part of a recipe's own backbone that the chosen one lacks; else empty."""
    typed = {word.lstrip("+~").partition("=")[0]: word for word in overrides}
    if key in typed or "@backbone." not in key or not {"experiment", "backbone"} <= typed.keys():
        return ""
    return (
        f"{typed['experiment']} sets {key}, which is a part of the recipe's own backbone and not of "
        f"{typed['backbone']}; leave one of them out"
    )


def _near(key: str, candidates: Sequence[str]) -> str:
    """The three nearest keys, however far they are."""
    tails = {name.rpartition(".")[2]: name for name in reversed(candidates)}
    close = near_names(key, candidates, 3, 0.4)
    close = list(dict.fromkeys([*(tails[tail] for tail in near_names(key, tails, 2, 0.4)), *close]))
    near = f"; the nearest are {', '.join(close[:3])}" if close else ""
    return f"{near}; `visionattn keys` lists all"


def _without_values(hydra: Any, config_name: str, overrides: Sequence[str]) -> Any:
    """The composition with only the overrides that choose files, without the one of those that is the mistake."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from hydra.types import RunMode

    known = set(_groups(hydra))
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choosing = [str(item.input_line) for item in parsed if item.key_or_group in known]
    for kept in (choosing, *([word for word in choosing if word != left_out] for left_out in choosing), []):
        try:
            return hydra.compose_config(config_name, kept, run_mode=RunMode.MULTIRUN, from_shell=False)
        except HydraException:
            continue
    return None


def _at(values: Any, key: str) -> dict[str, Any] | None:
    found = value_at(values, key)
    return found if isinstance(found, dict) else None


def _chosen(parent: str, selected: dict[str, Any]) -> str:
    """The text ``mixer neighborhood`` where a node was filled by choosing mixer/neighborhood.yaml."""
    for name, choice in selected.items():
        group, _, package = name.partition("@")
        if (package or group) == parent and choice:
            return f"{group} {choice}"
    return ""


def _holds(parent: str, values: dict[str, Any], selected: dict[str, Any]) -> str:
    """What stands under an existing node, and which file filled it."""
    own = [str(name) for name in _at(values, parent) or {} if not str(name).startswith("_")]
    listed = ", ".join(own[:12]) + (", ..." if len(own) > 12 else "") if own else "no keys"
    chosen = _chosen(parent, selected)
    return f"{parent} is {chosen}; its keys: {listed}" if chosen else f"keys of {parent}: {listed}"
