"""Which of an operator's backends runs a call: by name, by trying them in order, or one that the caller has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch

from visionattn.kernels.eager import transformed

RENAMED = {"portable": "traceable"}
"""Backends' former names, which still work."""


class Named(Protocol):
    """What is chosen by its name, or because it is made of torch's operators alone."""

    @property
    def name(self) -> str: ...

    @property
    def plain(self) -> bool: ...


Choice = TypeVar("Choice", bound=Named)


def own(op: str, name: str, backend: Choice | None) -> Choice:
    """The backend that a caller's own backends, called ``name``, have for an op.

    Raises:
        ValueError: they have none.
    """
    if backend is None:
        raise ValueError(f"{op}: {name} has no backend for it")
    return backend


def chosen(op: str, backends: Sequence[Choice], wanted: str | Choice, reason: Callable[[Choice], str]) -> Choice:
    """The backend that is ``wanted``, or for "auto" the first that does not refuse.

    Where torch transforms the operators or writes them into a file, "auto" asks those alone that are made of torch's.

    Args:
        op: name of the op, for messages.
        backends: in the order in which "auto" asks them.
        wanted: a backend, a backend's name, or "auto".
        reason: why a backend refuses the call, or "".

    Raises:
        ValueError: the named backend refuses, with its reason, or does not exist.
    """
    if wanted == "auto":
        own_code = not transformed()
        for candidate in backends:
            if (own_code or candidate.plain) and not reason(candidate):
                return candidate
    name = _present_name(wanted) if isinstance(wanted, str) else wanted.name
    for candidate in backends if isinstance(wanted, str) else (wanted,):
        if candidate.name == name:
            refusal = reason(candidate)
            if refusal:
                raise ValueError(f"{op}: backend '{name}' refuses: {refusal}")
            return candidate
    names = ", ".join(["auto", *(candidate.name for candidate in backends)])
    raise ValueError(f"{op}: no backend '{name}' can run; choose one of {names}")


def _present_name(backend: str) -> str:
    if backend not in RENAMED:
        return backend
    if not torch.compiler.is_compiling():
        warnings.warn(f"the backend '{backend}' is now called '{RENAMED[backend]}'", FutureWarning, stacklevel=4)
    return RENAMED[backend]
