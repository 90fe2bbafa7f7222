"""Mistakes reported before the first job runs, in every choice of a sweep too."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from visionattn.cli.arguments import Request
from visionattn.config import BuildPolicy, check_complete
from visionattn.config.catalog import read, source_file
from visionattn.config.columns import check_fit
from visionattn.config.composing import compose_in
from visionattn.config.messages import one_line, plain, unresolved_plain
from visionattn.config.types import check_defaults
from visionattn.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ALL_COMBINATIONS = 64  # more than that, and each choice is tried once instead of with every other
_CHOICES = 1000
COMPARISON = "compare"
"""The node of an experiment that holds the keys of a comparison."""
_NEEDED = ("task", "data", "backbone", "head", "optim", "schedule", "trainer")
_GLOBAL = ("experiment", "debug")
"""Groups whose files set keys of all other groups."""


def check(cfg: DictConfig, command: str | None, policy: BuildPolicy, complete: bool = True) -> None:
    """Refuse a composed config (with its ``hydra`` node) before anything is imported or written.

    Args:
        cfg: unresolved.
        command: for the message.
        policy: what configurations may build.
        complete: False: choices are still open, so that only the ``hydra`` node is checked.

    Raises:
        ConfigError: it names what it may not, does not resolve, or lacks a value.
    """
    from omegaconf import open_dict

    from visionattn.config.hydra_nodes import resolvable

    policy.check_hydra(cfg)
    choices = dict(cfg.hydra.runtime.choices)
    with resolvable(cfg) as whole, open_dict(whole):
        del whole["hydra"]  # a job does not see it either; it reads ${hydra:...}
        for group in (group for group in _GLOBAL if group in whole):  # its file was composed under a key of its own
            chosen = cfg.hydra.runtime.choices.get(group)
            raise ConfigError(
                f"{group}={chosen} changes nothing: write `# @package _global_` as the first line of "
                f"{group}/{chosen}.yaml"
            )
        if complete and command == "train":
            _check_single(whole, choices)
            _check_whole(unresolved_plain(cfg.hydra.overrides.task))
            check_fit(whole, choices)
        if complete:
            check_complete(whole, str(command))
            policy.check(whole)
            check_defaults(plain(whole), read(source_file(f"{cfg.hydra.job.config_name}.yaml")))


def _check_whole(overrides: Sequence[str]) -> None:
    """Raises ConfigError where ``~`` removes a group without which nothing trains."""
    for group in _NEEDED:
        if f"~{group}" in overrides:
            raise ConfigError(f"a training needs the group {group}: leave ~{group} away")


def _check_single(cfg: DictConfig, choices: dict[Any, Any]) -> None:
    """Raises ConfigError for an experiment that describes a comparison, not a training."""
    if cfg.get(COMPARISON) is not None:
        name = choices.get("experiment")
        raise ConfigError(f"experiment={name} is a comparison of several: visionattn compare experiment={name}")


def check_jobs(hydra: Any, cfg: DictConfig, request: Request) -> None:
    """Compose and check every job of a sweep.

    Raises:
        ConfigError: names the job.
    """
    fixed, swept = _split(cfg, request.overrides)
    for choice in _jobs(swept):
        try:
            check(compose_in(hydra, request.config_name, [*fixed, *choice]), request.command, request.policy)
        except ConfigError as error:
            label = f"in the job {' '.join(choice)}: " if choice else ""
            raise ConfigError(f"{label}{error}") from error


def _split(cfg: DictConfig, overrides: list[str]) -> tuple[list[str], list[list[str]]]:
    """The overrides every job shares, and, for each swept key, its choices."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep
    from hydra.errors import HydraException

    sweeper: Any = cfg.hydra.get("sweeper") or {}
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    fixed: list[str] = []
    swept: list[list[str]] = []
    for word in [*params, *overrides]:
        try:
            (override,) = OverridesParser.create().parse_overrides([word])
        except HydraException as error:
            raise ConfigError(f"cannot read the override {word!r}: {one_line(error)}") from error
        key, value = override.get_key_element(), override.value()
        if isinstance(value, IntervalSweep):
            swept.append([f"{key}={value.start}"])
        elif override.is_sweep_override():
            swept.append([f"{key}={one}" for one in itertools.islice(override.sweep_string_iterator(), _CHOICES)])
        elif word != "hydra.mode=MULTIRUN":
            fixed.append(word)
    return fixed, swept


def _jobs(swept: list[list[str]]) -> Iterator[list[str]]:
    count = 1
    for choices in swept:
        count *= len(choices)
    if count <= _ALL_COMBINATIONS:
        yield from (list(job) for job in itertools.product(*swept))
        return
    first = [choices[0] for choices in swept]
    for i, choices in enumerate(swept):
        yield from ([*first[:i], choice, *first[i + 1 :]] for choice in choices)
