"""From a command line to runs: compose, check, then hand over to Hydra, which runs one job or a sweep of them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionattn.cli.arguments import Request
from visionattn.cli.launch import ranks
from visionattn.cli.launch.job import Job
from visionattn.cli.launch.preflight import check, checked_choices
from visionattn.config import BuildPolicy
from visionattn.config.application import isolated_hydra
from visionattn.config.composing import compose, quoted
from visionattn.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from omegaconf import DictConfig


def execute(request: Request) -> int:
    """Runs a command; the exit code. Nothing runs before every configuration has been composed and checked."""
    sweeping = request.multirun or any(word.replace(" ", "") == "hydra.mode=MULTIRUN" for word in request.overrides)
    cfg = compose(request.config_name, request.overrides, request.config_dirs, return_hydra_config=True, sweep=sweeping)
    sweeping = sweeping or str(cfg.hydra.mode) == "RunMode.MULTIRUN"  # a file may ask for a sweep too
    check(cfg, request, complete=not sweeping and request.cfg is None)
    if request.cfg:
        return show(cfg, request)
    if sweeping:
        checked_choices(cfg, request)
    with _directories(cfg, request, sweeping) as extra, _quiet_unless_first():
        overrides = [*request.overrides, *extra]
        if not sweeping:
            run_once(Job.of(request), request.config_name, overrides, request.config_dirs)
            return 0
        from visionattn.cli.launch.sweep import run_sweep

        return run_sweep(request, overrides)


def run_once(job: Job, config_name: str, overrides: list[str], config_dirs: list[str]) -> Any:
    """One job through Hydra's own machinery: callbacks, directory, logging. Returns its results, raises its error."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import JobStatus, run_job
    from hydra.types import HydraContext, RunMode

    with isolated_hydra(config_dirs, config_name) as hydra:
        cfg = hydra.compose_config(config_name, overrides, run_mode=RunMode.RUN, with_log_configuration=True)
        cfg.hydra.mode = RunMode.RUN
        callbacks = Callbacks(cfg)
        callbacks.on_run_start(config=cfg, config_name=config_name)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
        done = run_job(job, cfg, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context)
        callbacks.on_run_end(config=cfg, config_name=config_name, job_return=done)
    if done.status is JobStatus.FAILED:
        raise done._return_value
    return done.return_value


def run_child(spec: dict[str, Any]) -> int:
    """The same job in a process that Lightning started: same directory, nothing printed, nothing written twice."""
    run_dir = Path(spec["run_dir"])
    ranks.end_with_parent(run_dir)
    rank = os.environ["LOCAL_RANK"]
    overrides = [
        *(word for word in spec["overrides"] if not word.startswith(("hydra.run.dir=", "hydra/job_logging="))),
        *(f"hydra.run.dir={quoted(str(run_dir))}", "hydra.output_subdir=null", f"hydra.job.name=rank_{rank}"),
        "hydra/job_logging=none",
    ]
    job = Job(
        spec["command"], spec["typed"], BuildPolicy(tuple(spec["allow"])), spec["dry_run"], tuple(spec["config_dirs"])
    )
    try:
        with _quiet_unless_first():
            run_once(job, spec["config_name"], overrides, spec["config_dirs"])
    except Interrupted:
        return 0  # all processes stop after the same step; the first one says so
    except Exception as failure:  # noqa: BLE001 - reported below, unless the first process failed too and says so itself
        return ranks.fail_child(failure, run_dir)
    return 0


def show(cfg: DictConfig, request: Request) -> int:
    """`--cfg job|hydra|all`: prints the configuration."""
    from omegaconf import OmegaConf

    from visionattn.config.hydra_nodes import resolvable
    from visionattn.config.messages import plain, unresolved_plain

    with resolvable(cfg) as whole:
        names = [str(name) for name in whole if request.cfg == "all" or (name == "hydra") == (request.cfg == "hydra")]
        written = unresolved_plain(whole)
        values = {name: plain(whole[name]) if request.resolve else written[name] for name in names}
    print(OmegaConf.to_yaml(OmegaConf.create(values), resolve=False), end="")
    return 0


@contextlib.contextmanager
def _directories(cfg: DictConfig, request: Request, sweeping: bool) -> Iterator[list[str]]:
    """Overrides for where to write: nowhere lasting in a dry run, the same place in every process."""
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="visionattn-") as folder:
            yield [f"hydra.run.dir={quoted(folder)}", f"hydra.sweep.dir={quoted(folder)}", "hydra.output_subdir=null"]
        return
    from visionattn.config.hydra_nodes import resolvable

    resuming = cfg.get("resume") is not None
    typed = {word.partition("=")[0] for word in request.overrides}
    names = [name for name in ("run", "sweep") if f"hydra.{name}.dir" not in typed]
    begun = None
    with resolvable(cfg) as whole:
        proposal = {name: str(Path(whole.hydra[name].dir).absolute()) for name in names}
        if resuming and sweeping and "sweep" in proposal:
            raise ConfigError("resume in a sweep needs a directory that stays the same: give hydra.sweep.dir=DIR")
        if resuming and "run" in proposal:
            from visionattn.runs.resume import run_to_continue

            begun = run_to_continue(whole, Path(proposal["run"]))
            proposal["run"] = str(begun or proposal["run"])
    used = "sweep" if sweeping else "run"
    if used in proposal and begun is None and _named_by_time(cfg, used) and ranks.may_choose():
        proposal[used] = str(claim(Path(proposal[used])))
    agreed = ranks.agree(proposal) if proposal else {}
    ranks.meet_anew()
    extra = [f"hydra.{name}.dir={quoted(folder)}" for name, folder in agreed.items()]
    yield extra if ranks.is_first() else [*extra, "hydra.output_subdir=null"]


def _named_by_time(cfg: DictConfig, name: str) -> bool:
    """Whether a directory is a new one for every command, not one that the user's configuration fixes."""
    from visionattn.config.messages import unresolved_plain

    return "${now:" in str(unresolved_plain(cfg)["hydra"][name]["dir"])


def claim(folder: Path) -> Path:
    """Makes the folder or, where another command of the same second has it, one beside it: ``name_2``, ``name_3``."""
    for number in count(1):
        chosen = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            chosen.mkdir(parents=True)
        except FileExistsError:
            continue
        return chosen
    raise AssertionError


@contextlib.contextmanager
def _quiet_unless_first() -> Iterator[None]:
    """Only the first of several processes writes to the terminal; errors of all of them still show."""
    if ranks.is_first():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
    sys.stdout.flush()
