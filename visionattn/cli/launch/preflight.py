"""Mistakes found before the first job runs, in every choice of a sweep too."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from visionattn.cli.arguments import Request
from visionattn.config import BuildPolicy, check_complete
from visionattn.config.composing import compose, parse
from visionattn.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_ALL_COMBINATIONS = 64  # more than that, and each choice is tried once instead of with every other
_CHOICES = 1000


def check(cfg: DictConfig, request: Request, complete: bool = True) -> None:
    """ConfigError for what a composed config (with its hydra node) may not name, does not resolve, or lacks."""
    from omegaconf import open_dict

    from visionattn.config.hydra_nodes import resolvable

    policy = BuildPolicy(request.allow)
    policy.check_hydra(cfg)
    with resolvable(cfg) as whole, open_dict(whole):
        del whole["hydra"]  # a job does not see it either; it reads ${hydra:...}
        if complete:
            check_complete(whole, str(request.command))
            policy.check(whole)


def checked_choices(cfg: DictConfig, request: Request) -> None:
    """Composes and checks every job of a sweep. ConfigError names the job."""
    fixed, swept = _split(cfg, request)
    for choice in _jobs(swept):
        try:
            job = compose(request.config_name, [*fixed, *choice], request.config_dirs, return_hydra_config=True)
            check(job, request)
        except ConfigError as error:
            label = f"in the job {' '.join(choice)}: " if choice else ""
            raise ConfigError(f"{label}{error}") from error


def _split(cfg: DictConfig, request: Request) -> tuple[list[str], list[list[str]]]:
    """The overrides every job shares, and, for each swept key, its choices."""
    sweeper: Any = cfg.hydra.get("sweeper") or {}
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    fixed, swept = [], []
    for override in parse([*params, *request.overrides]):
        key = override.get_key_element()
        if override.is_sweep_override():
            swept.append([f"{key}={value}" for value in _values(override)])
        elif override.input_line != "hydra.mode=MULTIRUN":
            fixed.append(override.input_line)
    return fixed, swept


def _values(override: Any) -> list[str]:
    from hydra.core.override_parser.types import IntervalSweep

    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start)]
    return list(itertools.islice(override.sweep_string_iterator(), _CHOICES))


def _jobs(swept: list[list[str]]) -> Iterator[list[str]]:
    count = 1
    for choices in swept:
        count *= len(choices)
    if count <= _ALL_COMBINATIONS:
        yield from (list(job) for job in itertools.product(*swept))
        return
    first = [choices[0] for choices in swept]
    for place, choices in enumerate(swept):
        yield from ([*first[:place], choice, *first[place + 1 :]] for choice in choices)
