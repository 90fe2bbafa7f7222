"""What two configurations of the same part say differently."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from visionattn.config.targets import locate
from visionattn.errors import ConfigError

_UNHEARD = ("_partial_", "_convert_", "backend")
"""Keys that change no output."""
_PLAIN = (bool, int, float, str, type(None))
_OWN = "visionattn."
UNSAID = object()
"""The value of a key that nobody states."""


def values_differing(
    trained: Mapping[str, Any], model: Mapping[str, Any], free: Collection[str] = (), prefix: str = ""
) -> list[str]:
    """A sentence for every key with other values: ``stem.stride was 4 in the training, the model has 2``.

    A key that only one of them has stands in the other for what the constructor takes without it; where that is not
    known, nothing is said.

    Args:
        trained: what weights were trained with.
        model: what takes them.
        free: keys, at any depth, that are not compared.
        prefix: before the keys, with a dot at its end.
    """
    lines = []
    for key in dict.fromkeys([*trained, *model]):
        if key in _UNHEARD or key in free:
            continue
        ours, theirs, name = said(trained, key), said(model, key), f"{prefix}{key}"
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            lines += values_differing(ours, theirs, free, f"{name}.")
        elif UNSAID not in (ours, theirs) and ours != theirs:
            lines.append(f"{name} was {_short(ours)} in the training, the model has {_short(theirs)}")
    return lines


def said(node: Mapping[str, Any], key: str) -> Any:
    """The value of a key, or the plain one that the node's constructor takes without it; else :data:`UNSAID`."""
    target = node.get("_target_")
    if key in node or not isinstance(target, str) or not target.startswith(_OWN):
        return node.get(key, UNSAID)
    try:
        parameters = inspect.signature(locate(target)).parameters
    except (ConfigError, TypeError, ValueError):
        return UNSAID
    default = parameters[key].default if key in parameters else UNSAID
    if isinstance(default, tuple):
        default = list(default)
    return default if isinstance(default, (*_PLAIN, list)) else UNSAID


def told_settings(node: Mapping[str, Any]) -> list[str]:
    """The keys of a part that say what it computes, as ``window_size 7``."""
    return [f"{key} {value}" for key, value in node.items() if not key.startswith("_") and key not in _UNHEARD]


def _short(value: Any) -> str:
    return str(value.get("_target_", value)) if isinstance(value, Mapping) else str(value)
