"""Constructors with many options: the options are grouped in dataclasses, and callers pass them one by one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from visionattn.errors import did_you_mean


def grouped(**groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator of ``__init__``: it collects keyword arguments in dataclasses.

    Callers and configurations pass each field by its own name (``per_image=100``). The constructor receives one object
    per group. ``inspect.signature`` shows the fields in the group's place.

    Args:
        **groups: name of the constructor's argument -> dataclass; every field has a default.

    Raises:
        TypeError: at a call, for a name that is neither an argument nor a field.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        signature = _flat_signature(inspect.signature(init), groups)
        names = {group: [field.name for field in fields(kind)] for group, kind in groups.items()}

        @functools.wraps(init)
        def flat(self: Any, *args: Any, **options: Any) -> None:
            for name in options:
                if name not in signature.parameters:
                    raise TypeError(_unknown(type(self).__name__, name, list(signature.parameters)))
            for group, kind in groups.items():
                options[group] = kind(**{name: options.pop(name) for name in names[group] if name in options})
            init(self, *args, **options)

        flat.__signature__ = signature  # type: ignore[attr-defined]
        return flat

    return decorate


def _flat_signature(signature: inspect.Signature, groups: dict[str, type]) -> inspect.Signature:
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name not in groups:
            parameters.append(parameter)
            continue
        for field in fields(groups[name]):
            shown = inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
            parameters.append(shown)
    return signature.replace(parameters=parameters)


def _unknown(owner: str, name: str, known: list[str]) -> str:
    return f"{owner} takes no argument {name}{did_you_mean(name, known)} (it takes {', '.join(known[1:])})"
