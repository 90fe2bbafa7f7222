"""What must be the same when a run is resumed, and is known only once the data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionattn.data.classes import ClassInfo
from visionattn.errors import CheckpointError

_SHOWN = 5


def same_classes(before: Mapping[str, Any], now: ClassInfo) -> None:
    """Make sure that a class has the number that it had when the checkpoint was written.

    Args:
        before: the class facts of the checkpoint; empty where it has none.
        now: what the data say.

    Raises:
        CheckpointError: names differ or have another order; the message shows some of them.
    """
    old, new = list(before.get("names") or []), list(now.names)
    if not old or not new or old == new:
        return
    if len(old) != len(new):
        what = f"{len(old)} classes, the data have {len(new)}"
    elif set(old) == set(new):
        what = "the same classes in another order"
    else:
        what = "other classes"
    pairs = [f"{number}: {a} was {b}" for number, (a, b) in enumerate(zip(new, old, strict=False)) if a != b]
    more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    raise CheckpointError(
        f"the checkpoint was trained on {what} ({', '.join(pairs[:_SHOWN])}{more}), so it cannot be resumed with these "
        "data; weights=CHECKPOINT starts a new run from its backbone"
    )
