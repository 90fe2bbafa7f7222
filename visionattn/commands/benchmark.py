"""``visionattn benchmark``: measurements that anybody can repeat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from visionattn.benchmarks.backbones import run_backbones
from visionattn.benchmarks.detection import run_detection
from visionattn.benchmarks.kernels import run_kernels, simulate
from visionattn.benchmarks.lengths import run_lengths
from visionattn.benchmarks.loading import run_loading
from visionattn.benchmarks.pixels import run_pixels
from visionattn.benchmarks.scan import run_scan
from visionattn.benchmarks.segmentation import run_segmentation
from visionattn.benchmarks.training import run_training
from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import plain
from visionattn.errors import ConfigError
from visionattn.runs.table import print_results

MEASUREMENTS: dict[str, Callable[..., Any]] = {
    "kernels": run_kernels,
    "simulate": simulate,
    "backbones": run_backbones,
    "lengths": run_lengths,
    "loading": run_loading,
    "pixels": run_pixels,
    "scan": run_scan,
    "detection": run_detection,
    "segmentation": run_segmentation,
    "training": run_training,
}
_OWN = ("measure", "run_dir", "benchmark", "json")


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Run one of :data:`MEASUREMENTS` with the config's keys as its arguments.

    Args: as for :func:`visionattn.commands.train.run`.

    Returns:
        ``rows``: what was measured; empty for a dry run.

    Raises:
        ConfigError: numbers that do not fit together.
    """
    arguments = {str(name): plain(cfg[name]) for name in cfg if name not in _OWN}
    if dry_run:
        print_results(f"dry run: {cfg.measure} with", arguments)
        return {}
    try:
        return {"rows": MEASUREMENTS[cfg.measure](**arguments)}
    except ValueError as error:
        raise ConfigError(f"{cfg.measure}: {error}") from error
