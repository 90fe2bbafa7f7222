"""Whether the values of a configuration are of the types that their keys take: those of signatures and of defaults."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Literal, Union, Unpack

from visionattn.errors import ConfigError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
_LISTS = (list, tuple, Sequence, set)
_MAPPINGS = (dict, Mapping)
LARGEST_SEED = 2**32 - 1
"""What NumPy's generators take at most."""
_NEVER = ("Tensor", "Module")  # what no plain value can stand for


def check_argument(function: Callable[..., Any], name: str, value: Any, key: str) -> None:
    """Compare a plain value with the type of a target's parameter.

    A parameter without a type, and a type that a plain value may be turned into, are left to the target.

    Args:
        function: the target.
        name: of the parameter.
        value: plain, or a built object.
        key: of the value.

    Raises:
        ConfigError: names the key, the value and what it takes.
    """
    hint = _hints(function).get(name)
    if hint is not None and _plain(value) and not _fits(value, hint):
        raise ConfigError(f"{key} must be {in_words(hint)}, got {shown(value)}")


def check_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any], key: str = "") -> None:
    """Compare the values of keys that no target takes with the defaults in the file: numbers and true or false.

    Args:
        values: resolved.
        defaults: contents of the file.
        key: of both.

    Raises:
        ConfigError: names the key, the value and what it takes.
    """
    for name, default in defaults.items():
        path = f"{key}.{name}" if key else str(name)
        value = values.get(name, default)
        if isinstance(default, dict) and isinstance(value, Mapping) and "_target_" not in default:
            check_defaults(value, default, path)
        elif isinstance(default, (bool, int, float)) and not (value == "???" or _fits(value, type(default))):
            raise ConfigError(f"{path} must be {in_words(type(default))}, got {shown(value)}")
        elif isinstance(default, int) and isinstance(value, int) and default >= 0 > value:
            raise ConfigError(f"{path} must be a whole number from 0 on, got {value}")
        elif name == "seed" and isinstance(value, int) and value > LARGEST_SEED:
            raise ConfigError(f"{path} must be a whole number from 0 to {LARGEST_SEED}, got {value}")


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Types of a target's parameters by name, those that it hands on to its bases and option classes too."""
    if not inspect.isclass(function):
        return _of_signature(function)
    hints: dict[str, Any] = {}
    for base in function.__mro__:
        init = vars(base).get("__init__")
        if init is None:
            continue
        hints = _of_signature(init) | hints
        open_ended = [p.name for p in _parameters(init) if p.kind is p.VAR_KEYWORD]
        if not open_ended:
            break
        if see := re.search(rf"\*\*{open_ended[0]}: see :class:`(\w+)`", base.__doc__ or ""):
            hints = _evaluated(getattr(sys.modules[base.__module__], see[1], None)) | hints
    return hints


def _of_signature(function: Callable[..., Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name, hint in _evaluated(inspect.unwrap(function)).items():
        if typing.get_origin(hint) is Unpack:
            hints |= _evaluated(typing.get_args(hint)[0])
        elif is_dataclass(hint) and name not in {p.name for p in _parameters(function)}:  # its fields are arguments
            hints |= _evaluated(hint)
        else:
            hints[name] = hint
    return hints


def _evaluated(owner: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner)
    except Exception:  # noqa: BLE001 - a type that cannot be read says nothing about a value
        return {}


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str))


def _members(hint: Any) -> Iterator[Any]:
    """The types of a union, of aliases and of unions in it."""
    hint = getattr(hint, "__value__", hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        for one in typing.get_args(hint):
            yield from _members(one)
    elif typing.get_origin(hint) is typing.Annotated:
        yield from _members(typing.get_args(hint)[0])
    else:
        yield hint


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, one) for one in _members(hint))


def _fits_one(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is bool:
        return isinstance(value, bool)
    if origin in (int, float):
        wanted = int if origin is int else (int, float)
        return isinstance(value, wanted) and not isinstance(value, bool)
    if origin is str:
        return isinstance(value, str)
    if origin is type(None) or hint is None:
        return value is None
    if origin in _LISTS:
        inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
        return isinstance(value, list) and all(not inner or any(_fits(item, one) for one in inner) for item in value)
    if origin in _MAPPINGS:
        return isinstance(value, dict)
    return getattr(origin, "__name__", "") not in _NEVER


def in_words(hint: Any) -> str:
    """A type in words, such as ``a whole number or null``."""
    words: list[str] = []
    for one in _members(hint):
        origin = typing.get_origin(one) or one
        if origin is Literal:
            words += [str(choice) for choice in typing.get_args(one)]
        elif origin in _LISTS:
            words.append("a list")
        elif origin in _MAPPINGS:
            words.append("a mapping")
        elif getattr(origin, "__name__", "") not in _NEVER:
            words.append(_WORDS.get(origin, f"a {getattr(origin, '__name__', origin)}"))
    words = list(dict.fromkeys(words))
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def shown(value: Any) -> str:
    """A value with its type where that is not plain to see."""
    return f"the text {value!r}" if isinstance(value, str) else "null" if value is None else str(value)
