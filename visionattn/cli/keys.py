"""``visionattn keys``: every key with its default, its type and a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from visionattn.cli.arguments import COMMANDS
from visionattn.errors import ConfigError

if TYPE_CHECKING:
    from visionattn.config.keys import Key

_WIDTH = 96
_OWN = {name: root for name, (root, _) in COMMANDS.items() if name != "data"}  # data is a group too


def show_keys(words: Sequence[str], config_dirs: Sequence[str] = ()) -> int:
    """Print the keys below a prefix, or all; ``keys evaluate`` prints those of another command than train.

    Args:
        words: prefixes, names of commands, and overrides that choose other files of the groups.
        config_dirs: the user's folders of YAML.

    Raises:
        ConfigError: no key has this prefix.
    """
    from visionattn.config.composing import compose
    from visionattn.config.keys import keys_of
    from visionattn.config.messages import nearest

    overrides = [word for word in words if "=" in word]
    prefixes = [word for word in words if "=" not in word]
    root = next((_OWN[word] for word in prefixes if word in _OWN), "train")
    prefixes = [word for word in prefixes if word not in _OWN]
    overrides += [] if root != "benchmark" or any(word.startswith("benchmark=") for word in overrides) else [_KERNELS]
    known = list(keys_of(compose(root, overrides, config_dirs, return_hydra_config=True, sweep=True), root))
    chosen = [key for key in known if not prefixes or any(_below(key.name, prefix) for prefix in prefixes)]
    if not chosen:
        raise ConfigError(f"no key {' or '.join(prefixes)}{nearest(prefixes[0], [key.name for key in known])}")
    print("\n".join(lines(chosen)))
    return 0


_KERNELS = "benchmark=kernels"


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix.rstrip('.')}.")


def lines(keys: Iterable[Key]) -> Iterator[str]:
    """A line for each key with its default, and its type and sentence below."""
    for key in keys:
        value = " (must be given)" if key.value == "???" else f" = {_written(key.value)}"
        if key.type == "mapping" or (key.value is None and "." in key.type):  # what is below has the values
            value = ""
        yield f"{key.name}{value}"
        kind = "" if key.type == "any" else f"{key.type}: "
        yield from textwrap.wrap(f"{kind}{key.sentence}", _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _written(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(_written(one) for one in value)}]"
    return str(value) if value != "" else "''"
