"""The folder of a command: kept from being overwritten, and taken back where the command fails.

Nothing here imports torch: a folder that holds a run is refused before anything else happens.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionattn.errors import ConfigError

TRAIN_LOG = "train.log"
"""What a training printed. The file appears with the first step, so it tells that a training has begun."""
REPLACED = ".replaced"
"""Where the files of a run wait that ``overwrite=true`` replaces, until the new one has begun."""
OUTCOME = "outcome.json"
"""How a job of a sweep ended."""
REPORT = "report.html"
"""The page of a run or an evaluation; see :mod:`visionattn.runs.page`."""
_OF_A_RUN = ("config.yaml", "metrics.csv", "results.json", "checkpoints", TRAIN_LOG)
_PAGES = ("README.md", REPORT, "plots")
_BESIDE = (OUTCOME, *_PAGES, ".hydra", "tensorboard", "wandb", "nonfinite.jsonl", "unreadable.json")
_OF_AN_EXPORT = ("config.json", "config.yaml", "model.*", "preprocessing.json", "README.md")


class EarlierResults(dict[str, Any]):
    """The results of a run that had come to its end before this command, which did nothing."""


@dataclass(frozen=True)
class Written:
    """What a command writes.

    Attributes:
        marks: patterns of names that tell that the command has written into a folder.
        beside: further names that it writes.
        begun: a name whose presence tells that the folder is worth keeping though the command failed.
    """

    marks: tuple[str, ...]
    beside: tuple[str, ...] = ()
    begun: str = ""


COMMANDS = {
    "train": Written(_OF_A_RUN, _BESIDE, TRAIN_LOG),
    "evaluate": Written(("result.json",), (REPORT,)),
    "predict": Written(("predictions.json",), ("predictions.csv", "sheet*.png", "drawings")),
    "inspect": Written(("inspection.json",), ("report.html",)),
    "export": Written(_OF_AN_EXPORT),
    "data doctor": Written(("doctor.json",), begun="doctor.json"),
}
"""Commands that have a folder of their own -> what they write into it."""


def holds(folder: Path, command: str) -> list[str]:
    """Names in a folder that a command wrote and that this one would overwrite."""
    return sorted({path.name for mark in COMMANDS[command].marks for path in folder.glob(mark)})


def check_free(folder: Path, command: str, key: str) -> None:
    """Make sure that a command overwrites nothing.

    Args:
        folder: where it is to write.
        command: its name.
        key: the key that names the folder.

    Raises:
        ConfigError: the folder holds what an earlier command wrote; names the choices.
    """
    found = holds(folder, command)
    if found:
        run = command == "train"
        choices = [*(["resume=auto (continue it)"] if run else []), f"{key}=ANOTHER_FOLDER", "overwrite=true"]
        held = "a run" if run else ", ".join(found)
        raise ConfigError(
            f"{folder} already holds {held}, which is not overwritten; give {', '.join(choices[:-1])} or {choices[-1]} "
            f"({'remove what it wrote' if run else 'replace it'})"
        )


def replace(folder: Path, command: str) -> None:
    """Move what an earlier command wrote aside, where neither evaluate nor ``resume=auto`` find it."""
    written = COMMANDS[command]
    aside = folder / REPLACED
    shutil.rmtree(aside, ignore_errors=True)
    for path in [path for name in (*written.marks, *written.beside) for path in folder.glob(name)]:
        aside.mkdir(exist_ok=True)
        if path.exists():
            path.rename(aside / path.name)


def forget_replaced(folder: Path) -> None:
    """Remove what :func:`replace` has moved aside."""
    shutil.rmtree(folder / REPLACED, ignore_errors=True)


@contextmanager
def taken_back(folder: Path, command: str, new: Sequence[Path]) -> Iterator[None]:
    """Leave nothing behind where a command fails before it has anything to keep, and no empty folder in any case.

    Args:
        folder: where the command writes.
        command: its name.
        new: which of the folder and its parents did not exist before, the innermost first.
    """
    mark = folder / COMMANDS[command].begun if COMMANDS[command].begun else None
    size = _size(mark)
    before = {path.name for path in folder.iterdir()} if folder.is_dir() and folder not in new else set()
    try:
        yield
    except BaseException as error:
        begun = _size(mark) != size if mark else not isinstance(error, Exception)
        if not (begun or getattr(error, "leaves_files", False)):
            _withdraw(folder, command, new, before)
        _remove_empty(new)
        raise
    forget_replaced(folder)
    _remove_empty(new)


def _size(file: Path | None) -> int:
    return file.stat().st_size if file is not None and file.is_file() else -1


def _withdraw(folder: Path, command: str, new: Sequence[Path], before: set[str]) -> None:
    if folder in new:
        shutil.rmtree(folder, ignore_errors=True)
        return
    written = COMMANDS[command]
    for path in [path for name in (*written.marks, *written.beside) for path in folder.glob(name)]:
        if path.name not in before or (folder / REPLACED / path.name).exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (folder / REPLACED).glob("*"):
        path.rename(folder / path.name)
    with suppress(OSError):
        (folder / REPLACED).rmdir()


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def missing(folder: Path) -> list[Path]:
    """The folder and its parents that do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]
