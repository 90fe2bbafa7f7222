"""Where a command writes: a new folder, that of the resumed run, or a temporary one in a dry run."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from visionattn.cli.arguments import Request
from visionattn.cli.launch import ranks
from visionattn.config.hydra_nodes import resolvable
from visionattn.config.messages import unresolved_plain
from visionattn.errors import ConfigError
from visionattn.runs.folder import COMMANDS, check_free, forget_replaced, holds, missing, replace, taken_back

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CLAIMED = "claimed"


@contextlib.contextmanager
def directories(cfg: DictConfig, request: Request, sweeping: bool) -> Iterator[dict[str, str | None]]:
    """Keys of the ``hydra`` node with their values: the same folder in every process.

    A command that fails before it has anything to keep leaves no folder behind.

    Raises:
        ConfigError: a sweep is resumed without ``hydra.sweep.dir``, processes cannot agree on a folder, or the folder
            holds an earlier command's files.
    """
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="visionattn-") as temporary:
            yield {"hydra.run.dir": temporary, "hydra.sweep.dir": temporary, "hydra.output_subdir": None}
        return
    used = "sweep" if sweeping else "run"
    proposed = _proposed(cfg, used)
    new = missing(proposed)
    found = dict(_chosen(cfg, request, sweeping))
    claimed = found.pop(_CLAIMED, None)
    chosen: dict[str, str | None] = {f"hydra.{name}.dir": folder for name, folder in found.items()}
    if not ranks.is_first():
        yield {**chosen, "hydra.output_subdir": None}
        return
    folder = Path(found.get(used, proposed))
    new = [folder, *new[1:]] if claimed else missing(folder)
    with _kept(cfg, str(request.command), folder, new, used):
        yield chosen


@contextlib.contextmanager
def _kept(cfg: DictConfig, command: str, folder: Path, new: list[Path], used: str) -> Iterator[None]:
    """What lies in the folder is kept, and a new folder is taken back where the command fails."""
    if command not in COMMANDS:
        yield
        return
    overwrite = bool(cfg.get("overwrite"))
    if overwrite and cfg.get("resume") is not None:
        raise ConfigError("resume=auto continues a run and overwrite=true replaces it; give one of them")
    jobs = [path for path in folder.glob("*") if holds(path, command)] if used == "sweep" else []
    for one in (folder, *jobs):
        if overwrite:
            replace(one, command)
        elif not _continues(cfg, one):
            check_free(one, command, f"hydra.{used}.dir")
    if used == "sweep":  # every job has been composed and checked
        for one in (folder, *jobs):
            forget_replaced(one)
    with contextlib.nullcontext() if used == "sweep" else taken_back(folder, command, new):
        yield


def _continues(cfg: DictConfig, folder: Path) -> bool:
    """Whether a command goes on with the run of a folder."""
    ckpt = cfg.get("ckpt") if "resume" in cfg else None  # that of other commands is a run that they read
    return cfg.get("resume") is not None or (ckpt is not None and Path(ckpt).absolute().is_relative_to(folder))


def _proposed(cfg: DictConfig, used: str) -> Path:
    with resolvable(cfg) as whole:
        return Path(whole.hydra[used].dir).absolute()


def _chosen(cfg: DictConfig, request: Request, sweeping: bool) -> Iterator[tuple[str, str]]:
    """``run`` and ``sweep`` with their folders, as far as the command line does not name them.

    A folder that has been made for this command comes under the name :data:`_CLAIMED` too.
    """
    typed = {word.partition("=")[0] for word in request.overrides}
    names = [name for name in ("run", "sweep") if f"hydra.{name}.dir" not in typed]
    used, resuming, continued = "sweep" if sweeping else "run", cfg.get("resume") is not None, None
    with resolvable(cfg) as whole:
        proposal = {name: str(Path(whole.hydra[name].dir).absolute()) for name in names}
        if resuming and sweeping and "sweep" in proposal:
            raise ConfigError("resume in a sweep needs a directory that stays the same: give hydra.sweep.dir=DIR")
        if sweeping and "sweep" not in proposal:
            yield "sweep", str(Path(whole.hydra.sweep.dir).absolute())
        if resuming and "run" in proposal:
            from visionattn.runs.resume import run_to_continue

            continued = run_to_continue(whole, Path(proposal["run"]))
            proposal["run"] = str(continued or proposal["run"])
    if used in proposal and continued is None and _named_by_time(cfg, used) and ranks.may_choose():
        proposal[used] = str(claim(Path(proposal[used])))
        yield _CLAIMED, proposal[used]
    if proposal:
        yield from ranks.agree(proposal).items()
    ranks.meet_anew()


def _named_by_time(cfg: DictConfig, name: str) -> bool:
    """Whether a directory is a new one for every command, not one that the user's configuration fixes."""
    return "${now:" in str(unresolved_plain(cfg)["hydra"][name]["dir"])


def claim(folder: Path) -> Path:
    """Make the folder or, where another command of the same second has it, one beside it: ``name_2``, ``name_3``."""
    for number in count(1):
        chosen = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            chosen.mkdir(parents=True)
        except FileExistsError:
            continue
        return chosen
    raise AssertionError
