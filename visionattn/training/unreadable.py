"""Images of batches that cannot be read, counted against the budget of their split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionattn.data.unreadable import UnreadableBudget
from visionattn.errors import UnreadableImagesError
from visionattn.training.nonfinite import Records


def newly_unreadable(batch: Mapping[str, Any], budget: UnreadableBudget) -> Records:
    """The unreadable images of a batch that its budget does not know yet."""
    return [(name, reason) for name, reason in batch["unreadable"] if name not in budget.records]


def count_unreadable(records: Records, budget: UnreadableBudget) -> None:
    """Count unreadable images of all processes; call it with the same records on each of them.

    Raises:
        UnreadableImagesError: there are now too many.
    """
    with budget.deferred():
        budget.add(records)
    if budget.exceeded:
        raise UnreadableImagesError(budget.summary())


def nothing_read(records: Records) -> UnreadableImagesError:
    """The error of a training batch without any image."""
    shown = "\n".join(f"  {name}: {reason}" for name, reason in records[:3])
    return UnreadableImagesError(
        f"none of the images of a training batch can be read, nor any that was tried instead; among them\n{shown}"
    )
