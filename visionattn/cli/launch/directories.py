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

if TYPE_CHECKING:
    from omegaconf import DictConfig


@contextlib.contextmanager
def directories(cfg: DictConfig, request: Request, sweeping: bool) -> Iterator[dict[str, str | None]]:
    """Keys of the ``hydra`` node with their values: the same folder in every process.

    Raises:
        ConfigError: a sweep is resumed without ``hydra.sweep.dir``, or processes cannot agree on a folder.
    """
    if request.dry_run:
        with tempfile.TemporaryDirectory(prefix="visionattn-") as folder:
            yield {"hydra.run.dir": folder, "hydra.sweep.dir": folder, "hydra.output_subdir": None}
        return
    chosen: dict[str, str | None] = {f"hydra.{name}.dir": folder for name, folder in _chosen(cfg, request, sweeping)}
    yield chosen if ranks.is_first() else {**chosen, "hydra.output_subdir": None}


def _chosen(cfg: DictConfig, request: Request, sweeping: bool) -> Iterator[tuple[str, str]]:
    """``run`` and ``sweep`` with their folders, as far as the command line does not name them."""
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
