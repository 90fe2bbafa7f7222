"""Small files that unfold without end (aliases of aliases, references to references), measured before they do."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

LARGEST = 100_000
_REFERENCE = re.compile(r"\$\{\s*(?:oc\.[\w.]+:)?\s*(\.*)([\w.\-\[\]]*)")


@lru_cache
def aliased_size(file: Path, changed: int) -> int:
    """How many values a YAML file holds with its aliases written out; 0: unreadable.

    Args:
        file: the file.
        changed: its time, for the cache.
    """
    import yaml

    sizes: dict[int, int] = {}

    def count(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = LARGEST + 1  # what stands inside itself has no end
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            flat = (part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,)))
            sizes[id(node)] = 1 + sum(map(count, flat))
        return sizes[id(node)]

    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return 0  # Hydra reports the error if the file is chosen
    return count(root) if root is not None else 0


def resolved_size(root: Any, path: tuple[str, ...]) -> int:
    """How many values the node at ``path`` of an unresolved, plain ``root`` holds once its references are followed."""
    sizes: dict[tuple[str, ...], int] = {}

    def count(here: tuple[str, ...]) -> int:
        if here in sizes:
            return sizes[here]
        sizes[here] = 1  # resolving reports a circle
        node = _at(root, here)
        size = 1
        if isinstance(node, dict):
            size += sum(count((*here, str(name))) for name in node)
        elif isinstance(node, list):
            size += sum(count((*here, str(index))) for index in range(len(node)))
        elif isinstance(node, str):
            for dots, name in _REFERENCE.findall(node):
                start = here[: len(here) - len(dots)] if dots else ()
                size += count((*start, *re.findall(r"[^.\[\]]+", name)))
        sizes[here] = size
        return size

    return count(path)


def _at(root: Any, path: tuple[str, ...]) -> Any:
    node = root
    for part in path:
        if isinstance(node, dict):
            node = node.get(part, node.get(int(part)) if part.isdigit() else None)
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None  # below a reference, or nowhere: nothing to unfold here
    return node
