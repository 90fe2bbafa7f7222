"""Faces of packages: the names a package offers, each imported from its file when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def face(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module's ``__getattr__`` that imports the names of a package on first use (PEP 562).

    Args:
        package: the package's ``__name__``.
        homes: name -> module that defines it, relative to the package.
    """

    def load(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
