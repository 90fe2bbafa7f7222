"""What describes weights: ``config.json`` beside them in the Hub's form, the header of a ``.safetensors`` file.

That is a stranger's, and nothing here builds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors import safe_open

from visionattn.errors import CheckpointError
from visionattn.weights.timm_names import OURS

_LARGEST_CONFIG = 10 * 2**20


def text_of(path: Path) -> str:
    """The text of a small file.

    Raises:
        CheckpointError: it is larger than any such file.
    """
    if path.stat().st_size > _LARGEST_CONFIG:
        raise CheckpointError(f"{path} is larger than any description of a model: {path.stat().st_size} bytes")
    return path.read_text(encoding="utf-8", errors="replace")


def described(path: Path) -> dict[str, Any]:
    """What a ``config.json`` says: the facts about images, as far as they are those of timm's own, and classes.

    Raises:
        CheckpointError: it is no JSON, or larger than any such file.
    """
    try:
        contents = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(contents, dict):
        return {}
    described: dict[str, Any] = {"facts": _facts(contents), "class_names": words(contents.get("label_names"))}
    name, arguments = contents.get("architecture"), contents.get("model_args")
    if isinstance(name, str) and name.startswith(OURS):
        changes = arguments.get("architecture") if isinstance(arguments, dict) else None
        described["architecture"] = {"name": name.removeprefix(OURS), "changes": changes}
    elif isinstance(name, str) and timm.is_model(name):
        described["network"] = {"name": name, "arguments": arguments if isinstance(arguments, dict) else {}}
    return described


def metadata(file: Path) -> dict[str, Any]:
    """What an export of ours wrote about classes into a ``.safetensors`` file; empty where it is no such JSON."""
    with safe_open(file, framework="pt") as opened:
        written = opened.metadata() or {}
    try:
        return {name: json.loads(written[name]) for name in ("class_names", "class_facts") if name in written}
    except (ValueError, RecursionError):
        return {}


def words(names: Any) -> list[str]:
    """Names as text; empty where they are no list."""
    return [str(name) for name in names] if isinstance(names, list) else []


def _facts(contents: Mapping[str, Any]) -> dict[str, Any]:
    given = contents.get("pretrained_cfg")
    if not isinstance(given, dict):
        return {}
    kept: dict[str, Any] = {name: given[name] for name in ("crop_mode", "interpolation") if _is_word(given.get(name))}
    kept |= {name: tuple(given[name]) for name in ("input_size", "mean", "std") if _is_triple(given.get(name))}
    if isinstance(given.get("crop_pct"), (int, float)) and 0 < given["crop_pct"] <= 1:
        kept["crop_pct"] = float(given["crop_pct"])
    if isinstance(contents.get("num_classes"), int):
        kept["num_classes"] = contents["num_classes"]
    return kept


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isalpha()


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(number, (int, float)) for number in value)
