"""The natural spellings of a mixer: ``mixer=window`` for all stages, ``backbone.mixers.s3=window`` for one.

Both stand for Hydra's ``mixer@backbone.mixers.s3=window``, which names the group and the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

PLACE = "mixer@backbone.mixers."
_STAGE = re.compile(r"backbone\.mixers\.(\w+)")


def is_natural(override: Any) -> bool:
    """Whether a parsed override (Hydra's) names a mixer in one of these spellings."""
    if override.is_sweep_override() or override.is_delete() or override.is_add() or override.package is not None:
        return False
    if not isinstance(override.value(), str):
        return False
    return override.key_or_group == "mixer" or _STAGE.fullmatch(override.key_or_group) is not None


def spelled_out(override: Any, places: Iterable[str]) -> list[str]:
    """The overrides that one in a natural spelling stands for.

    Args:
        override: see :func:`is_natural`.
        places: groups with their places that the configuration has, such as ``mixer@backbone.mixers.s1``.
    """
    known = sorted(place for place in places if place.startswith(PLACE))
    stage = _STAGE.fullmatch(override.key_or_group)
    chosen = known if stage is None else [place for place in known if place == PLACE + stage[1]]
    return [f"{place}={override.value()}" for place in chosen] or [override.input_line]
