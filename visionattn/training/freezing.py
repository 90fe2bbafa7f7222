"""Parts of a backbone that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from visionattn.errors import ConfigError

WHOLE = "backbone"


class FrozenParts:
    """Frozen parts of a backbone: no gradient for their parameters, and never in training mode.

    Args:
        backbone: whose parts; parameters of the frozen ones stop requiring a gradient.
        names: ``backbone`` is all of it; ``stem``, ``s1``, ``s2``, ... are parts of a backbone with ``stem`` and
            ``stages``. None: nothing is frozen.

    Raises:
        ConfigError: a part that the backbone does not have.
    """

    def __init__(self, backbone: nn.Module, names: str | Sequence[str] | None) -> None:
        wanted = [names] if isinstance(names, str) else list(names or ())
        known = _parts(backbone)
        for name in wanted:
            if name not in known:
                raise ConfigError(
                    f"task.freeze={name}: {type(backbone).__name__} has no such part; choose from {', '.join(known)}"
                )
        self.modules = [known[name] for name in wanted]
        for module in self.modules:
            module.requires_grad_(False)

    def keep_still(self) -> None:
        """Put the frozen parts into evaluation mode, after the model has been put into training mode."""
        for module in self.modules:
            module.eval()


def _parts(backbone: Any) -> dict[str, nn.Module]:
    stages = {f"s{i}": stage for i, stage in enumerate(getattr(backbone, "stages", ()), 1)}
    stem = {"stem": backbone.stem} if isinstance(getattr(backbone, "stem", None), nn.Module) else {}
    return {WHOLE: backbone, **stem, **stages}
