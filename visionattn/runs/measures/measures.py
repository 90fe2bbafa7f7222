"""What is measured of a model that has been evaluated, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig

from visionattn.config import BuildPolicy
from visionattn.errors import ConfigError
from visionattn.runs.build import Run
from visionattn.runs.measures.predicting import check_classifier
from visionattn.runs.measures.robustness import corruptions, shifts
from visionattn.runs.measures.sizes import Sizes

Measure = Callable[[DictConfig, Run, BuildPolicy], dict[str, Any]]


def _sizes(cfg: DictConfig, run: Run, policy: BuildPolicy) -> dict[str, Any]:
    return Sizes(run, policy).measure(cfg)


def _shifts(cfg: DictConfig, run: Run, policy: BuildPolicy) -> dict[str, Any]:
    return shifts(run, policy, int(cfg.seed))


def _corruptions(cfg: DictConfig, run: Run, policy: BuildPolicy) -> dict[str, Any]:
    return corruptions(run, int(cfg.seed))


MEASURES: dict[str, Measure] = {"sizes": _sizes, "shifts": _shifts, "corruptions": _corruptions}
"""Name -> function of the evaluation's configuration, the evaluation, and what may be built."""


def check_measures(names: Sequence[str], run: Run, policy: BuildPolicy) -> None:
    """Refuse measures that do not exist, or that the task does not define, before any data are read.

    Raises:
        ConfigError: names the measure and the reason.
    """
    if isinstance(names, str) or not all(name in MEASURES for name in names):
        raise ConfigError(f"measures is a list of {', '.join(MEASURES)}, for example measures=[sizes], not {names}")
    for name in names:
        if name == "sizes":
            Sizes(run, policy).check()
        else:
            check_classifier(name, run)
    if names and run.trainer.world_size > 1:
        raise ConfigError(f"measures run in one process: leave trainer.devices={run.trainer.world_size} out")


def measure(cfg: DictConfig, run: Run, policy: BuildPolicy) -> dict[str, dict[str, Any]]:
    """Measure what ``cfg.measures`` names.

    Args:
        cfg: of ``evaluate``.
        run: the evaluation, whose data have been read.
        policy: what configurations may build.

    Returns:
        Name to what was found, for ``result.json``.
    """
    return {name: MEASURES[name](cfg, run, policy) for name in cfg.measures}
