"""From a command line to runs: compose once, check, then hand over to Hydra, which runs one job or a sweep of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionattn.cli.arguments import Request
from visionattn.cli.launch import ranks
from visionattn.cli.launch.announcing import announce
from visionattn.cli.launch.directories import directories
from visionattn.cli.launch.job import Job, run_once
from visionattn.cli.launch.preflight import check, check_jobs
from visionattn.cli.showing import show_config
from visionattn.config import BuildPolicy
from visionattn.config.application import isolated_hydra
from visionattn.config.composing import compose_in, quoted
from visionattn.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from omegaconf import DictConfig


def execute(request: Request) -> int:
    """Run a command; the exit code. Nothing runs before every configuration has been composed and checked."""
    recognize_folder(request)
    if request.command == "compare":
        from visionattn.cli.launch.comparison import run_comparison

        return run_comparison(request)
    with isolated_hydra(request.config_dirs, request.config_name) as hydra:
        cfg, sweeping = _composed(hydra, request)
        if request.cfg:
            return show_config(cfg, request)
        if not sweeping:
            _run(hydra, cfg, request)
            return 0
        if cfg.get("json"):
            raise ConfigError("json=true prints one document, and a sweep has many; see sweep.csv in its folder")
        check_jobs(hydra, cfg, request)
        with directories(cfg, request, sweeping) as chosen, ranks.quiet_unless_first():
            announce(cfg, request, chosen, sweeping)
            from visionattn.cli.launch.sweep import run_sweep

            return run_sweep(hydra, request, chosen, resumed=cfg.get("resume") is not None)


def run_alone(request: Request) -> tuple[Path, Any]:
    """Run a command in this process, for a program that goes on afterwards; its folder and its results.

    Raises:
        ConfigError: it is a sweep, or a training of several processes, which would run the calling program again.
    """
    recognize_folder(request)
    with isolated_hydra(request.config_dirs, request.config_name) as hydra:
        cfg, sweeping = _composed(hydra, request)
        devices = (cfg.get("trainer") or {}).get("devices", 1)
        if sweeping or devices not in (1, "1"):
            what = "a sweep" if sweeping else f"trainer.devices={devices}"
            raise ConfigError(f"{what} needs processes of its own; start it from a terminal: {request.typed}")
        return _run(hydra, cfg, request)


def recognize_folder(request: Request) -> None:
    """Put what ``data=FOLDER`` was recognized as in its place, before anything is composed.

    Raises:
        DataError: it is not recognized.
    """
    if any(word.lstrip("+").startswith("data=") for word in request.overrides):
        from visionattn.runs.own_folder import with_folder

        request.overrides = with_folder(request.overrides, request.command, request.config_dirs)


def _composed(hydra: Any, request: Request) -> tuple[DictConfig, bool]:
    """The configuration of a command, checked, and whether it is a sweep."""
    cfg = compose_in(hydra, request.config_name, request.overrides, sweep=request.sweeping)
    sweeping = request.sweeping or str(cfg.hydra.mode) == "RunMode.MULTIRUN"  # a file may ask for a sweep too
    check(cfg, request.command, request.policy, complete=not sweeping and request.cfg is None)
    return cfg, sweeping


def _run(hydra: Any, cfg: DictConfig, request: Request) -> tuple[Path, Any]:
    """Run one job; its folder and its results."""
    with directories(cfg, request, sweeping=False) as chosen, ranks.quiet_unless_first():
        announce(cfg, request, chosen, sweeping=False)
        results = run_once(hydra, cfg, Job.of(request), chosen)
        return Path(chosen.get("hydra.run.dir") or cfg.hydra.run.dir), results


def run_child(spec: dict[str, Any]) -> int:
    """Run the same job in a process that Lightning started: same directory, nothing printed, nothing written twice."""
    run_dir = Path(spec["run_dir"])
    ranks.end_with_parent(run_dir)
    rank = os.environ["LOCAL_RANK"]
    overrides = [
        *(word for word in spec["overrides"] if not word.startswith(("hydra.run.dir=", "hydra/job_logging="))),
        *(f"hydra.run.dir={quoted(str(run_dir))}", "hydra.output_subdir=null", f"hydra.job.name=rank_{rank}"),
        "hydra/job_logging=none",
    ]
    policy, folders = BuildPolicy(tuple(spec["allow"])), tuple(spec["config_dirs"])
    job = Job(spec["command"], spec["typed"], policy, spec["dry_run"], folders)
    try:
        with ranks.quiet_unless_first(), isolated_hydra(folders, spec["config_name"]) as hydra:
            cfg = compose_in(hydra, spec["config_name"], overrides)
            check(cfg, job.command, policy)
            if (run_dir / "config.yaml").is_file():  # what the first process inferred is not asked for again
                from visionattn.runs.infer import adopt_file

                adopt_file(cfg, run_dir / "config.yaml")
            run_once(hydra, cfg, job)
    except Interrupted:
        return 0  # all processes stop after the same step; the first one says so
    except Exception as failure:  # noqa: BLE001 - reported below, unless the first process failed too and says so itself
        return ranks.fail_child(failure, run_dir)
    return 0
