"""Building objects from a checked configuration.

The keys are Hydra's: ``_target_``, ``_args_``, ``_partial_``, ``_recursive_``. Two things differ from
``hydra.utils.instantiate``. The node is resolved once into plain containers, checked, and built from the same
containers, so nothing can change between check and use. Containers always arrive as dict and list (Hydra's ``_convert_:
all``). Keyword arguments replace the node's own and are passed unchanged.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionattn.config.messages import key_of, nearest, one_line, plain, references
from visionattn.config.renames import with_new_names
from visionattn.config.targets import CORE_ROOTS, locate, refusal, reject, walk_targets
from visionattn.config.types import check_argument
from visionattn.errors import ConfigError, VisionAttnError

_OWN_KEYS = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
_CONFIGURABLE = (TypeError, ValueError, LookupError, AttributeError, ImportError, OSError)


class Partial(functools.partial[Any]):
    """A functools.partial that remembers the config key it came from, so that a later failure can name it."""

    config_key: str

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:
            _mark(error, self.config_key)
            raise


def instantiate(node: Any, *, allow: Sequence[str] = (), **kwargs: Any) -> Any:
    """Build what a config node describes, after checking every ``_target_`` in it.

    Args:
        node: a config node, dict or list; None gives None.
        allow: packages of the user's own that targets may name.
        **kwargs: for the top target, over the node's own values.

    Raises:
        ConfigError: names the config key and the reason. Errors that are no configuration mistake keep their type and
            get a note.
    """
    values, key = with_new_names(plain(node)), key_of(node)
    for where, target in walk_targets(values, key):
        reject(where, target, refusal(target, allow))
    return _Builder(tuple(allow), references(node, key)).build(values, key, kwargs)


@dataclass(frozen=True)
class _Builder:
    """Builds plain, checked containers.

    Attributes:
        allow: packages of the user's own that targets may name.
        references: key -> the key that it repeats, where a person sets the value.
    """

    allow: tuple[str, ...]
    references: Mapping[str, str]

    def build(self, values: Any, key: str, extra: dict[str, Any] | None = None) -> Any:
        if isinstance(values, (list, tuple)):
            return [self.build(value, f"{key}[{index}]") for index, value in enumerate(values)]
        if not isinstance(values, dict):
            return values
        if "_target_" not in values:
            if extra:
                raise ConfigError(
                    f"{key or 'the configuration'} has no _target_, so {', '.join(extra)} cannot be passed to it"
                )
            return {name: self.build(value, f"{key}.{name}" if key else str(name)) for name, value in values.items()}
        target, partial = values["_target_"], _flag(values, "_partial_", False, key)
        arguments = self._arguments(values, key, partial, extra or {})
        function = locate(target, self.allow, key)
        positional = self._positional(values, key)
        _check_signature(function, target, key, positional, arguments, partial)
        self._check_types(function, key, arguments)
        if partial:
            held = Partial(function, *positional, **arguments)
            held.config_key = key
            return held
        return _call(function, target, key, positional, arguments)

    def _positional(self, values: dict[str, Any], key: str) -> list[Any]:
        given = values.get("_args_", [])
        if not isinstance(given, list):
            raise ConfigError(f"{key}._args_ is a {type(given).__name__}; it is a list")
        return [self.build(value, f"{key}._args_[{index}]") for index, value in enumerate(given)]

    def _arguments(self, values: dict[str, Any], key: str, partial: bool, extra: dict[str, Any]) -> dict[str, Any]:
        recursive = _flag(values, "_recursive_", True, key)
        arguments = {}
        for name, value in values.items():
            if name in _OWN_KEYS or name in extra:
                continue
            path = f"{key}.{name}" if key else str(name)
            path = self.references.get(path, path)
            if not isinstance(name, str):
                raise ConfigError(f"{path}: an argument's name is a string, not a {type(name).__name__}")
            if isinstance(value, str) and value == "???":
                if not partial:
                    raise ConfigError(f"{path} needs a value: {path}=VALUE")
                continue
            arguments[name] = self.build(value, path) if recursive else value
        return arguments | extra

    def _check_types(self, function: Callable[..., Any], key: str, arguments: dict[str, Any]) -> None:
        for name, value in arguments.items():
            path = f"{key}.{name}" if key else name
            check_argument(function, name, value, self.references.get(path, path))


def _flag(values: dict[str, Any], name: str, default: bool, key: str) -> bool:
    flag = values.get(name, default)
    if not isinstance(flag, bool):
        raise ConfigError(f"{key}.{name} is {flag!r}; it is true or false")
    return flag


def _check_signature(
    function: Callable[..., Any], target: str, key: str, args: list[Any], kwargs: dict[str, Any], partial: bool
) -> None:
    """Raise a ConfigError for an argument that the target does not take or lacks, before it is called."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins do not tell; the call itself will
        return
    names = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        for name in kwargs:
            if name not in names:
                own = ", ".join(name for name in names if name not in ("self", "cls")) or "no arguments"
                hint = nearest(name, names)
                raise ConfigError(f"{key}.{name}: {target} takes no argument {name}{hint} (it takes {own})")
    try:
        (signature.bind_partial if partial else signature.bind)(*args, **kwargs)
    except TypeError as error:
        raise ConfigError(f"{key}: {target}: {error}") from error


def _call(function: Callable[..., Any], target: str, key: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    except VisionAttnError as error:
        _mark(error, key)
        raise
    except Exception as error:
        library = target.partition(".")[0] in CORE_ROOTS - {"visionattn"}  # what it refuses is what it was given
        if not (library or isinstance(error, _CONFIGURABLE)):
            _mark(error, key)
            raise
        where = getattr(error, "config_key", key) or "the configuration"
        raise ConfigError(f"{where}: {target} could not be built: {type(error).__name__}: {one_line(error)}") from error


def _mark(error: BaseException, key: str) -> None:
    """Note the innermost config key on an error, to be shown under the traceback."""
    if not hasattr(error, "config_key"):
        vars(error)["config_key"] = key
        error.add_note(f"while building the config key {key}")
