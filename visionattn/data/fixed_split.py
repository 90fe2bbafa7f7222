"""A fixed split of data that come without one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from visionattn.errors import ConfigError


def fixed_split(names: Iterable[str], share: float = 0.2) -> np.ndarray:
    """Which samples are held out for validation, bool ``(n,)``.

    A sample's side depends on its own name alone: other files, their order and the machine change nothing, and new
    files move no old one. Of few samples at least one is held out and one is left; a single one is left for training.

    Args:
        names: different names, the same on every machine (paths relative to the data set).
        share: of the samples to hold out, between 0 and 1.

    Raises:
        ConfigError: ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share of images to hold out must lie between 0 and 1, got {share}")
    places = np.array([int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 for name in names])
    held = places < share
    if len(places):
        held[places.argmin()] = True
        held[places.argmax()] = False
    return held
