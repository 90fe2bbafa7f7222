"""Errors that say what to type instead, and the plain forms of config nodes they need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visionattn.config.unfolding import LARGEST, resolved_size
from visionattn.errors import ConfigError, did_you_mean

_REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
EXAMPLES = {
    "ckpt": "ckpt=outputs/classification/dinat_pico/2026-01-31_12-00-00/checkpoints/best.ckpt",
    "make": "make=shapes",
    "layout": "layout=imagenet",
    "dir": "dir=data/shapes",
    "format": "format=timm",
    "data.dir": "data.dir=/path/to/imagenet",
    "data.root": "data.root=/path/to/imagenet",
}


def nearest(word: str, choices: Iterable[str]) -> str:
    """The hint ``; did you mean x?``, or nothing. Dotted keys are compared by their last parts too."""
    choices = list(dict.fromkeys(choices))
    tails = {choice.rsplit(".", 1)[-1]: choice for choice in reversed(choices)} if "." not in word else {}
    return did_you_mean(word, choices) or did_you_mean(word, tails, cutoff=0.8, shown=tails.__getitem__)


def one_line(error: BaseException) -> str:
    """The first telling line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def key_of(node: Any) -> str:
    """The key path of a config node; empty for a root and for plain containers."""
    return str(node._get_full_key(None) or "") if OmegaConf.is_config(node) else ""


def plain(node: Any) -> Any:
    """A resolved copy in dicts, lists and values; ``???`` stays.

    Raises:
        ConfigError: an interpolation does not resolve, or the copy would be too large.
    """
    if not OmegaConf.is_config(node):
        if not isinstance(node, (dict, list, tuple)):
            return node
        node = OmegaConf.create(node if isinstance(node, dict) else list(node), flags={"allow_objects": True})
    written = unresolved_plain(node._get_root())
    if resolved_size(written, tuple(re.findall(r"[^.\[\]]+", key_of(node)))) > LARGEST:
        raise ConfigError(
            f"{key_of(node) or 'the configuration'} expands to more than {LARGEST} values through references"
        )
    try:
        return OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(unresolved(error)) from error
    except RecursionError as error:
        raise ConfigError(f"{key_of(node) or 'the configuration'} refers to itself") from error


def references(node: Any, key: str = "") -> dict[str, str]:
    """Keys below a node that repeat another key (``${optim}``) -> that key."""
    found: dict[str, str] = {}

    def walk(values: Any, path: str) -> None:
        if isinstance(values, dict):
            for name, value in values.items():
                walk(value, f"{path}.{name}" if path else str(name))
        elif isinstance(values, str) and (whole := _REFERENCE.fullmatch(values)):
            found[path] = whole[1]

    walk(unresolved_plain(node), key)
    return found


def unresolved(error: OmegaConfBaseException) -> str:
    """A sentence for a reference that leads nowhere."""
    where = f"{error.full_key}: " if error.full_key else ""
    return f"{where}{one_line(error)}"


def flat_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a plain container, inner nodes too."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            key = f"{prefix}.{name}" if prefix else str(name)
            yield key
            yield from flat_keys(value, key)


def value_at(node: Any, key: str, missing: Any = None) -> Any:
    """The value at a dotted key of plain contents, or ``missing``."""
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return missing
        node = node[part]
    return node


def unresolved_plain(cfg: Any) -> Any:
    """The config in dicts and lists with its interpolations as they stand."""
    return OmegaConf.to_container(cfg, resolve=False) if OmegaConf.is_config(cfg) else cfg


def missing_keys(node: Any, key: str = "") -> Iterator[str]:
    """Keys whose value is still ``???``. What a ``_partial_`` leaves open is for its caller to give."""
    if isinstance(node, dict):
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if not (value == "???" and node.get("_partial_")):
                yield from missing_keys(value, path)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from missing_keys(value, f"{key}[{index}]")
    elif isinstance(node, str) and node == "???":
        yield key


def open_keys(node: Any, key: str = "") -> Iterator[str]:
    """Dotted keys of a plain container whose value is ``auto``: to be inferred, or chosen by what is built."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from open_keys(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, str) and node == "auto":
        yield key


def check_complete(cfg: Any, command: str = "train") -> None:
    """Make sure that no mandatory value is left out.

    Raises:
        ConfigError: names each, with an example of how to give it.
    """
    missing = [key for key in missing_keys(unresolved_plain(cfg)) if not key.startswith("hydra.")]
    if missing:
        example = " ".join(EXAMPLES.get(key, f"{key}=VALUE") for key in missing)
        plural = "s" if len(missing) > 1 else ""
        raise ConfigError(
            f"{command} needs the value{plural} of {', '.join(missing)}; for example: visionattn {command} {example}"
        )
