"""How evaluation images are made: the model's own way, unless the command line says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from visionattn.config import BuildPolicy
from visionattn.config.messages import flat_keys, nearest, one_line, plain
from visionattn.data import VisionData
from visionattn.errors import ConfigError

KEYS = ("image_size", "mean", "std", "divisor", "eval_transform")
"""Keys of ``data`` that decide what evaluation images are: for every task, those that its data have."""
LOADING = ("batch_size", "eval_batch_size", "num_workers", "pin_memory", "prefetch_factor", "timeout", "root", "seed")
"""Keys of ``data`` that no figure depends on; ``root`` is printed with the data."""
Differences = dict[str, tuple[Any, Any]]
"""Key -> value of the training, value of the evaluation."""


def protocol_of_run(data: DictConfig) -> dict[str, Any]:
    """What a run's data configuration says about evaluation images: the keys :data:`KEYS` that it has."""
    return {name: plain(data[name]) for name in KEYS if data.get(name) is not None}


def apply_protocol(data: DictConfig, protocol: Mapping[str, Any]) -> None:
    """Write a protocol into a data configuration, in place; keys given on the command line stay as they were given.

    Keys of ``eval_transform`` that the protocol does not have stay: they say something about the files of the set.
    """
    prefixes = tuple(f"data.{name}" for name in protocol)
    typed = [key.removeprefix("data.") for key in given_keys() if key.startswith(prefixes)]
    kept = {key: OmegaConf.select(data, key) for key in typed}
    with open_dict(data):
        for name, value in protocol.items():
            own = data.get(name)
            if isinstance(value, Mapping) and isinstance(own, DictConfig) and _alike(value, own):
                value = {**plain(own), **value}
            data[name] = value
        for key, value in kept.items():
            OmegaConf.update(data, key, value, force_add=True)


def _alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return ours.get("_target_", theirs.get("_target_")) == theirs.get("_target_")


def with_typed_keys(data: DictConfig, typed: DictConfig | None, where: str) -> None:
    """Write keys of the command line into a run's data configuration, in place.

    Args:
        data: of the run.
        typed: what the command line gives under ``data``, without a data set.
        where: the checkpoint, for messages.

    Raises:
        ConfigError: a key that the run's data do not have; names the nearest one. ``+data.KEY=`` adds one.
    """
    if not typed:
        return
    added = {word.lstrip("+").partition("=")[0] for word in _words() if word.startswith("+data.")}
    known = list(flat_keys(plain(data)))
    for key in flat_keys(plain(typed)):
        inner = any(name.startswith(f"{key}.") for name in flat_keys(plain(typed)))
        if not inner and key not in known and f"data.{key}" not in added:
            listed = ", ".join(str(name) for name in data if not str(name).startswith("_"))
            raise ConfigError(
                f"unknown key data.{key}{nearest(key, known)} (keys of the data of {where}: {listed}; "
                f"+data.{key}= adds it)"
            )
    with open_dict(data):
        try:
            data.merge_with(typed)
        except OmegaConfBaseException as error:
            raise ConfigError(f"data of {where}: {one_line(error)}") from error


def differences(trained: Mapping[str, Any], used: Mapping[str, Any], prefix: str = "") -> Differences:
    """Keys whose values differ, dotted, inner mappings key by key; a class counts where both name one."""
    result: Differences = {}
    for name in dict.fromkeys([*trained, *used]):
        ours, theirs, key = trained.get(name), used.get(name), f"{prefix}{name}"
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            result |= differences(ours, theirs, f"{key}.")
        elif str(name).startswith("_") and None in (ours, theirs):
            continue
        elif _edges(ours) != _edges(theirs):
            result[key] = (ours, theirs)
    return result


def _edges(value: Any) -> Any:
    """A value, a square's edge as both its edges."""
    return [value, value] if isinstance(value, int) else value


def in_words(differing: Differences) -> list[str]:
    """A sentence for every difference: ``image_size: 64 instead of 32``."""
    return [f"{key}: {_value(used)} instead of {_value(trained)}" for key, (trained, used) in differing.items()]


def _value(value: Any) -> str:
    return "nothing" if value is None else str(value)


def check_kind(trained: DictConfig, data: DictConfig, policy: BuildPolicy, task: str) -> None:
    """Make sure that data are of the kind that a model was trained on: images with labels, objects, masks.

    Args:
        trained: the data configuration of the run.
        data: the one to be scored on.
        policy: what configurations may build.
        task: the task's class, for the message.

    Raises:
        ConfigError: they are of another kind.
    """
    ours, theirs = (
        policy.instantiate({"_target_": node.get("_target_"), "_partial_": True}) for node in (trained, data)
    )
    kinds = [_kind(getattr(one, "func", None)) for one in (ours, theirs)]
    if None not in kinds and kinds[0] is not kinds[1]:
        raise ConfigError(
            f"the checkpoint holds a {task}, trained on {ours.func.__name__}; the data given are "
            f"{theirs.func.__name__}, which it cannot be scored on"
        )


def _kind(data: Any) -> type | None:
    """The class directly below :class:`VisionData` that a data module is or derives from."""
    bases: Sequence[type] = getattr(data, "__mro__", ())
    return next((one for one, base in pairwise(bases) if base is VisionData), None)


def given_keys() -> set[str]:
    """Keys of the overrides of the running job; none outside one."""
    return {word.lstrip("+").partition("=")[0] for word in _words()}


def _words() -> Iterator[str]:
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    return (str(word) for word in words)
