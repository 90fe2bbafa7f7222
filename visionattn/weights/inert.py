"""Objects that training scripts save beside weights, read as nothing.

torch reads a file of tensors without running anything in it, and refuses one that names a class. Some classes are in so
many published files that a refusal would cost more than it saves: arguments of a command line, numbers and arrays of
NumPy, paths. Where a file names one of these, it gets :class:`Inert` instead, and the class itself is never imported.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


class Inert:
    """What stands for such an object: it takes whatever it is made of and keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_NAMES = (
    "argparse.Namespace",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "_codecs.encode"),
    *(f"pathlib.{part}{kind}Path" for part in ("", "_local.") for kind in ("Posix", "Windows")),
)


def inert_objects() -> AbstractContextManager[None]:
    """A context in which torch reads these objects as :class:`Inert`."""
    return torch.serialization.safe_globals([(Inert, name) for name in _NAMES])
