"""The training on a folder of the user's own that a command goes on with, and what was chosen when it began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from visionattn.config import catalog
from visionattn.config.messages import value_at

RECOGNIZED = "recognized"
"""The key of a training that holds what was chosen for a folder: key -> why."""
_NAMES = {"backbone": "backbone_name", "recipe": "recipe_name"}
_LOOKED_AT = 64


def begun_in(folder: Path) -> Mapping[str, Any] | None:
    """The configuration of the run in a folder; None: there is none."""
    path = folder / "config.yaml"
    return catalog.read(path) if path.is_file() else None


def newest_begun(data: Mapping[str, Any], backbone: str | None) -> Mapping[str, Any] | None:
    """The configuration of the newest run in the usual place that was begun on a folder; None: there is none.

    Whether it is the run of this very command is asked once all is composed; it only says what to compose.

    Args:
        data: keys of the data as they are typed now, with ``data.root`` or ``data.source.name``.
        backbone: that is typed; None: it was chosen for the folder then too.
    """
    for folder in _usual_folders():
        config = begun_in(folder) or {}
        chosen = config.get(RECOGNIZED) or {}
        same = all(
            value_at(config, key) == value for key, value in data.items() if key in ("data.root", "data.source.name")
        )
        fits = "backbone" in chosen if backbone is None else config.get("backbone_name") == backbone
        if chosen and same and fits:
            return config
    return None


def chosen_then(config: Mapping[str, Any]) -> dict[str, Any]:
    """Backbone, weights and what else was chosen beside the data when a run began, as overrides."""
    names = list(reasons_then(config))
    others = [key for key in names if key.startswith("data.") and "_transform." in key]
    kept = ("backbone", "weights", *(["recipe"] if "recipe" in names else []))
    found = {key: config.get(_NAMES.get(key, key)) for key in kept}
    return {key: value for key, value in found.items() if value is not None} | {k: value_at(config, k) for k in others}


def reasons_then(config: Mapping[str, Any]) -> dict[str, str]:
    """Why each key was chosen when a run began."""
    return {str(key).replace("/", "."): str(text) for key, text in (config.get(RECOGNIZED) or {}).items()}


def _usual_folders() -> Iterator[Path]:
    """Folders of runs where the configuration of a training puts them, the newest first."""
    root = catalog.source_file("train.yaml")
    place = str(catalog.read(root)["hydra"]["run"]["dir"]) if root is not None else ""
    base = Path(place.partition("${")[0])
    found = base.glob("*/" * place.count("${")) if base.parts else ()
    return iter(sorted(found, key=lambda folder: folder.name, reverse=True)[:_LOOKED_AT])
