"""One run, several processes: who is the first, and how all of them come to the same run directory.

Lightning starts the other processes of a node by running the command line again. They find the job, as the first
process had composed it, in an environment variable, and run exactly that: the same choices, the same run directory, the
same allowed packages, no second sweep. Under torchrun the directory travels through the launcher's own store; under
SLURM through a file named after the step.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from visionattn.errors import ConfigError, VisionAttnError
from visionattn.files import write_whole

JOB = "VISIONATTN_JOB"
RUN_DIR = "VISIONATTN_RUN_DIR"
STOPPED, FAILED = ".stopped", ".failed_"
_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
_PATIENCE = 300.0


def child_spec() -> dict[str, Any] | None:
    """The job this process was started for by another visionattn process, or None."""
    if JOB not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0":
        return None
    return dict(json.loads(os.environ[JOB]))


def is_first() -> bool:
    """Whether this is the process that prints, and writes what is written once."""
    return not any(int(os.environ.get(name) or 0) for name in _ranks())


@contextmanager
def quiet_unless_first() -> Iterator[None]:
    """Let only the first of several processes write to the terminal; errors of all of them still show."""
    if is_first():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield
    sys.stdout.flush()


def may_choose() -> bool:
    """Whether the run directory is this process's to choose."""
    return is_first() and RUN_DIR not in os.environ


def _ranks() -> tuple[str, ...]:
    if "RANK" in os.environ:
        return ("RANK",)
    return ("SLURM_PROCID", "LOCAL_RANK", "NODE_RANK") if _slurm_step() else ("LOCAL_RANK", "NODE_RANK")


def _slurm_step() -> bool:
    return "SLURM_STEP_ID" in os.environ and int(os.environ.get("SLURM_NTASKS") or 1) > 1


def started_from_outside() -> bool:
    """Whether a launcher started several processes of this command.

    It may be torchrun, srun, or a script that sets ``RANK`` or ``NODE_RANK``.
    """
    several = int(os.environ.get("WORLD_SIZE") or 1) > 1 and ("RANK" in os.environ or "LOCAL_RANK" in os.environ)
    return several or _slurm_step() or int(os.environ.get("NODE_RANK") or 0) > 0


def agree(proposal: dict[str, str]) -> dict[str, str]:
    """The first process's proposal (names of directories), in every process.

    Raises:
        ConfigError: the processes have no way to tell each other.
    """
    if RUN_DIR in os.environ:
        return dict.fromkeys(proposal, os.environ[RUN_DIR])
    if not started_from_outside():
        return proposal
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return _through_store(proposal)
    if _slurm_step():
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        name = "-".join(os.environ.get(part, "0") for part in names)
        return _through_file(Path("outputs", ".slurm", f"{name}.json"), proposal)
    if is_first():
        return proposal
    raise ConfigError(
        "this process cannot find the run directory of process 0; "
        f"set hydra.run.dir=DIR for all processes, or {RUN_DIR}"
    )


def _through_store(proposal: dict[str, str]) -> dict[str, str]:
    ours = _store_of_this_start()
    if is_first():
        ours.set("directories", json.dumps(proposal))
    return dict(json.loads(ours.get("directories")))


def _store_of_this_start() -> Any:
    """The store of torchrun, with keys of our own for each time that it starts the processes."""
    from datetime import timedelta

    from torch.distributed import PrefixStore, TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=_PATIENCE))
    return PrefixStore(f"visionattn/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def meet_anew() -> None:
    """Let processes that torchrun has started again meet at a port of their own.

    torchrun (torch 2.15) keeps one store for all starts, with the addresses of the processes that are gone. With gloo,
    a process that comes earlier than the others would try to reach those.
    """
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)
    if not again or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    store = _store_of_this_start()
    if is_first():
        with socket.socket() as free:
            free.bind(("", 0))
            store.set("port", str(free.getsockname()[1]))
    os.environ["MASTER_PORT"] = store.get("port").decode()
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"  # the first process serves this port, not torchrun


def _through_file(path: Path, proposal: dict[str, str]) -> dict[str, str]:
    if is_first():
        write_whole(path, json.dumps(proposal))
        return proposal
    end = time.monotonic() + _PATIENCE
    while not path.is_file():
        if time.monotonic() > end:
            raise ConfigError(f"the first process did not write {path} within {_PATIENCE:.0f} s; is the folder shared?")
        time.sleep(0.2)
    return dict(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def announced(spec: dict[str, Any], run_dir: Path) -> Iterator[None]:
    """Let processes that are started while it lasts run ``spec``.

    Afterwards the environment is as before. On an error the processes are told to end.
    """
    before = {name: os.environ.get(name) for name in (JOB, *_LIGHTNING)}
    for note in (run_dir / STOPPED, *run_dir.glob(f"{FAILED}*")):
        note.unlink(missing_ok=True)
    os.environ[JOB] = json.dumps(spec)
    try:
        yield
        if _launched(before):
            _raise_for_children(run_dir, None)
    except BaseException as error:
        if _launched(before):
            (run_dir / STOPPED).touch()
            _raise_for_children(run_dir, error)
        raise
    finally:
        launched = _launched(before)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if launched:
            _leave_group()


def _launched(before: dict[str, str | None]) -> bool:
    """Whether Lightning has started processes since ``before``."""
    return before["LOCAL_RANK"] is None and "LOCAL_RANK" in os.environ


def _leave_group() -> None:
    """Leave the group of processes of this job, which are gone; the next job of a sweep starts its own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def fail_child(failure: Exception, run_dir: Path) -> int:
    """Report the failure of a started process, leave the first process a note, and return the exit code.

    Where the first process failed too, its mark ends this one in silence during the pause. With gloo the next exchange
    of the first process fails; it finds the note and ends its job, so the code is 0. With other backends it might wait
    forever; the code 1 makes Lightning, which watches this process, end it.
    """
    time.sleep(3)
    rank = os.environ.get("LOCAL_RANK")
    if isinstance(failure, VisionAttnError):
        print(f"visionattn: process {rank}: {failure}", file=sys.stderr)
    else:
        print(f"visionattn: process {rank} failed:", file=sys.stderr)
        traceback.print_exception(failure)
    write_whole(run_dir / f"{FAILED}{rank}", f"process {rank} failed: {failure}")
    torch = sys.modules.get("torch")
    grouped = torch is not None and torch.distributed.is_initialized()
    return 0 if grouped and torch is not None and torch.distributed.get_backend() == "gloo" else 1


def _raise_for_children(run_dir: Path, error: BaseException | None) -> None:
    """Raise the error that a started process noted, unless the first process failed for a reason of its own."""
    notes = [path.read_text(encoding="utf-8") for path in sorted(run_dir.glob(f"{FAILED}*"))]
    if notes and (error is None or (isinstance(error, RuntimeError) and "peer" in str(error))):
        raise VisionAttnError(notes[0]) from error


def end_with_parent(run_dir: Path) -> None:
    """End this process within about a second once the one that started it has failed or gone."""
    parent, stopped = os.getppid(), run_dir / STOPPED

    def watch() -> None:
        while os.getppid() == parent and not stopped.exists():
            time.sleep(0.5)
        os._exit(0)  # the failure is the first process's to report; another code would make Lightning kill it

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
