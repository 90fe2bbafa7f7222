"""The keys of ``visionattn compare``, told apart from those of the trainings."""

from __future__ import annotations

from typing import Any

from visionattn.cli.arguments import Request
from visionattn.cli.launch.preflight import COMPARISON
from visionattn.config.catalog import read, source_file
from visionattn.config.composing import compose_in
from visionattn.config.messages import nearest, one_line, plain
from visionattn.errors import ConfigError

_REFUSED = {
    "seed": "seeds=[0,1,2] names the seeds of a comparison",
    "overwrite": "a comparison overwrites nothing: remove its folder, or give dir=ANOTHER_FOLDER",
    "ckpt": "a comparison resumes its own runs; weights=PATH starts all entries from weights",
    "start_as": "a comparison sets it itself",
    "hydra.run.dir": "dir=FOLDER names the folder of a comparison",
}


def divided(request: Request) -> tuple[dict[str, Any], list[str]]:
    """The keys of the comparison as typed, and the overrides of train.

    Raises:
        ConfigError: a key of train that a comparison sets itself, or one with several values.
    """
    known = _defaults()
    own: dict[str, Any] = {}
    train: list[str] = []
    for word in request.overrides:
        key, _, value = word.partition("=")
        if key in known:
            own[key] = value if key == "entries" else _value(word)
        elif key == "hydra.sweep.dir":
            own["dir"] = _value(word)
        elif key in _REFUSED:
            raise ConfigError(f"{word}: {_REFUSED[key]}")
        elif word != "resume=auto":
            train.append(_single(word))
    return own, train


def _defaults() -> dict[str, Any]:
    file = source_file("compare.yaml")
    return {name: value for name, value in read(file).items() if name != "hydra"}


def _value(word: str) -> Any:
    """The value of an override; choices (``a,b``) are a list."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        raise ConfigError(f"cannot read {word!r}: {one_line(error)}") from error
    value: Any = override.value()
    if override.is_sweep_override():
        return [_plain(one) for one in getattr(value, "list", [value])]
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return getattr(value, "text", value)  # of a quoted text


def _single(word: str) -> str:
    """The override.

    Raises:
        ConfigError: it gives several values.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException:
        return word  # told where it is composed
    if override.is_sweep_override():
        key, _, value = word.partition("=")
        entries = ",".join(f"[{key}={one.strip()}]" for one in value.split(","))
        raise ConfigError(f"{word} gives several values; compare them as entries=[{entries}]")
    return word


def with_experiment(hydra: Any, own: dict[str, Any], train: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The keys with the defaults and those of an experiment, which the runs do not get."""
    keys = _defaults()
    if any(word.partition("=")[0].lstrip("+") == "experiment" for word in train):
        cfg = compose_in(hydra, "train", train)
        if cfg.get(COMPARISON) is not None:
            stated = plain(cfg[COMPARISON])
            unknown = [name for name in stated if name not in keys]
            if unknown:
                raise ConfigError(f"{COMPARISON}.{unknown[0]} is no key of a comparison{nearest(unknown[0], keys)}")
            keys |= stated
            train = [*train, f"~{COMPARISON}"]
    return keys | own, train


def seconds_of(value: Any) -> float | None:
    """The key ``measure``.

    Raises:
        ConfigError: it is no number of seconds.
    """
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0):
        return value
    raise ConfigError(f"measure is a number of seconds, 0 for none, not {value}")
