"""Keys of a run on the command line of another command: ``visionattn evaluate ckpt=RUN data.root=DIR``.

The command's own configuration leaves these nodes empty, so that Hydra takes none of their keys. Here they become
additions; the command compares them with the run's configuration, where the checkpoint has been opened.
"""

from __future__ import annotations

from collections.abc import Sequence

NODES = {"evaluate": ("data", "task"), "export": ("data",)}
"""Root configuration -> its nodes that a run fills."""


def as_additions(config_name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides, those of keys below an empty node as additions (``++data.root=DIR``).

    Where a data set is chosen (``data=coco``) its own keys are known, and nothing is added.
    """
    chosen = {word.lstrip("+").partition("=")[0] for word in overrides}
    nodes = [node for node in NODES.get(config_name, ()) if node not in chosen]
    return [f"++{word}" if word.startswith(tuple(f"{node}." for node in nodes)) else word for word in overrides]
