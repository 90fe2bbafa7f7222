"""One job as Hydra calls it, with everything the command line says about it.

It can be pickled, for launchers that send it elsewhere.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionattn.cli.arguments import COMMANDS, DOCUMENTS, Request
from visionattn.cli.launch import ranks
from visionattn.config import DEFAULT_POLICY, BuildPolicy, check_complete
from visionattn.config.composing import quoted
from visionattn.config.targets import find_allowed
from visionattn.errors import Interrupted, VisionAttnError, interruption
from visionattn.files import write_whole
from visionattn.runs.folder import COMMANDS as WRITERS
from visionattn.runs.folder import OUTCOME, EarlierResults, check_free, missing, replace, taken_back
from visionattn.runs.log import logged
from visionattn.runs.table import document

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PARENT_ONLY = ("hydra.mode=", "hydra.sweep", "hydra/launcher=", "hydra.launcher", "hydra/sweeper=", "hydra.sweeper")


def import_from_here(policy: BuildPolicy) -> None:
    """Let the packages of ``allow=`` that lie in the current folder be imported, and say so."""
    for package in find_allowed(policy.allow, Path.cwd()):
        print(f"{package} is imported from the current folder")


@dataclass(frozen=True)
class Job:
    """A command's ``run``, made callable with a composed config.

    Attributes:
        command: name of the command.
        typed: the command line.
        policy: what configurations may build.
        dry_run: stop before the data are read.
        config_dirs: the user's folders of YAML.
        sweep: the mark of a sweep, in which a failure is written down, not raised; empty for a single run.
        again: the command that goes on where the job was interrupted; empty: follows from ``typed``.
    """

    command: str
    typed: str
    policy: BuildPolicy = DEFAULT_POLICY
    dry_run: bool = False
    config_dirs: tuple[str, ...] = ()
    sweep: str = ""
    again: str = ""

    @classmethod
    def of(cls, request: Request, sweep: str = "") -> Job:
        """The job of a command line."""
        folders = tuple(str(Path(folder).resolve()) for folder in request.config_dirs)
        return cls(str(request.command), request.typed, request.policy, request.dry_run, folders, sweep, request.again)

    def __call__(self, cfg: DictConfig) -> Any:
        """Run the command.

        Returns:
            In a sweep the number to be optimized (``optimized_metric``), else the command's results.
        """
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        run_dir = Path(hydra.runtime.output_dir)
        if not self.sweep:
            return self._run(cfg, hydra, run_dir)
        print(f"job {hydra.job.num}: {' '.join(hydra.overrides.task)}", flush=True)
        start, results, error = time.monotonic(), None, ""
        try:
            self.policy.check(cfg)  # Hydra's sweeper chose the values
            check_complete(cfg, self.command)
            results = self._run(cfg, hydra, run_dir)
        except Interrupted:  # the whole sweep is to stop
            raise
        except Exception as failure:  # noqa: BLE001 - the sweep's other jobs still run; it reports and fails at the end
            error = f"{type(failure).__name__}: {failure}" if not isinstance(failure, VisionAttnError) else str(failure)
            _report(failure, hydra)
        if ranks.is_first() and not isinstance(results, EarlierResults):
            record = {
                "sweep": self.sweep,
                "number": int(hydra.job.num),
                "overrides": list(hydra.overrides.task),
                "seconds": round(time.monotonic() - start, 3),
                "results": results,
                "error": error,
            }
            write_whole(run_dir / OUTCOME, json.dumps(record, indent=1, default=str))
        return _objective(cfg, results)

    def _run(self, cfg: DictConfig, hydra: Any, run_dir: Path) -> Any:
        from importlib import import_module

        name, module = COMMANDS[self.command]
        own = self._own_overrides(hydra)
        command = self._command(own) if self.sweep else self.typed
        spec = {
            "command": self.command,
            "config_name": name,
            "typed": command,
            "allow": self.policy.allow,
            "dry_run": self.dry_run,
            "config_dirs": self.config_dirs,
            "overrides": own,
            "run_dir": str(run_dir),
        }
        import_from_here(self.policy)
        alone = DOCUMENTS.get(self.command, False) and bool(cfg.get("json"))
        with document(alone) as show, self._kept(cfg, run_dir), self._explained(hydra, run_dir):
            with ranks.announced(spec, run_dir):
                run = import_module(f"visionattn.commands.{module}").run
                results = run(cfg, dry_run=self.dry_run, run_dir=run_dir, command=command, policy=self.policy)
            show(results)
            return results

    @contextmanager
    def _kept(self, cfg: DictConfig, run_dir: Path) -> Iterator[None]:
        """What is printed goes to the log of a training, and a folder ``dir=`` of the command's own is kept."""
        with ExitStack() as stack:
            if not self.dry_run and ranks.is_first():
                if self.command == "train":
                    stack.enter_context(logged(run_dir))
                if cfg.get("dir") and self.command in WRITERS:
                    folder = Path(cfg.dir).expanduser().absolute()
                    if cfg.get("overwrite"):
                        replace(folder, self.command)
                    else:
                        check_free(folder, self.command, "dir")
                    stack.enter_context(taken_back(folder, self.command, missing(folder)))
            yield

    @contextmanager
    def _explained(self, hydra: Any, run_dir: Path) -> Iterator[None]:
        """An interruption names the state that it leaves and the command that goes on from there."""
        try:
            yield
        except Interrupted as stop:
            stopped = Interrupted(f"{stop}; to go on: {self._go_on(hydra, run_dir)}")
            stopped.code = stop.code
            raise stopped from stop
        except (KeyboardInterrupt, SystemExit) as stop:
            ended, last = interruption(stop), run_dir / "checkpoints" / "last.ckpt"
            if ended is None or self.command != "train" or not last.exists():
                raise
            how, code = ended
            stopped = Interrupted(
                f"{how}; the last saved state is in {last}; to go on from there: {self._go_on(hydra, run_dir)}"
            )
            stopped.code = code
            raise stopped from stop

    def _go_on(self, hydra: Any, run_dir: Path) -> str:
        if self.again:
            return self.again
        words = [word for word in shlex.split(self.typed) if not word.startswith(("resume=", "overwrite=", "ckpt="))]
        key, folder = ("hydra.sweep.dir", hydra.sweep.dir) if self.sweep else ("hydra.run.dir", run_dir)
        if not any(word.startswith(f"{key}=") for word in words):
            folder = Path(folder)
            words.append(f"{key}={folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}")
        return shlex.join([*words, "resume=auto"])

    def _command(self, own: list[str]) -> str:
        """What runs this very job of a sweep by itself."""
        options = [word for folder in self.config_dirs for word in ("--config-dir", folder)]
        allow = [f"allow=[{','.join(self.policy.allow)}]"] if self.policy.allow else []
        words = [word for word in own if not word.startswith(("hydra.job.num=", "hydra.run.dir="))]
        return shlex.join(["visionattn", *self.command.split(), *words, *options, *allow])

    def _own_overrides(self, hydra: Any) -> list[str]:
        """What composes this very job again, by itself."""
        from omegaconf import OmegaConf

        typed: Any = OmegaConf.to_container(hydra.overrides, resolve=False)  # as typed: ${run_dir} has no value yet
        words = [word for word in (*typed["hydra"], *typed["task"]) if not word.startswith(_PARENT_ONLY)]
        return [*words, f"hydra.job.num={hydra.job.num}"] if self.sweep else words


def run_once(hydra: Any, cfg: DictConfig, job: Job, chosen: Mapping[str, str | None] | None = None) -> Any:
    """Run one job through Hydra's own machinery: callbacks, directory, logging.

    Args:
        hydra: the application that composed the configuration.
        cfg: the configuration, checked, with its ``hydra`` node.
        job: the command.
        chosen: keys of the ``hydra`` node with other values than the composed ones.

    Returns:
        The command's results; its error is raised.
    """
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import JobStatus, configure_log, run_job
    from hydra.types import HydraContext, RunMode
    from omegaconf import OmegaConf, open_dict, read_write

    with read_write(cfg), open_dict(cfg):
        cfg.hydra.mode = RunMode.RUN
        for key, value in (chosen or {}).items():
            OmegaConf.update(cfg, key, value)
        cfg.hydra.overrides.hydra.extend(words_of(chosen or {}))
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=COMMANDS[job.command][0])
    context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
    done = run_job(job, cfg, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context)
    callbacks.on_run_end(config=cfg, config_name=COMMANDS[job.command][0], job_return=done)
    if done.status is JobStatus.FAILED:
        raise done._return_value
    return done.return_value


def words_of(chosen: Mapping[str, str | None]) -> list[str]:
    """The overrides that set these keys."""
    return [f"{key}=null" if value is None else f"{key}={quoted(value)}" for key, value in chosen.items()]


def _report(failure: Exception, hydra: Any) -> None:
    print(f"visionattn: job {hydra.job.num} ({' '.join(hydra.overrides.task)}) failed: {failure}", file=sys.stderr)
    if not isinstance(failure, VisionAttnError):
        traceback.print_exception(failure)


def _objective(cfg: DictConfig, results: Any) -> Any:
    """What an optimizing sweeper reads: the result named by ``optimized_metric``; not a number when the job failed."""
    name = cfg.get("optimized_metric")
    if not name:
        return results
    return float(results[name]) if results and name in results else float("nan")
