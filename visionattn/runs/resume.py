"""Resuming a run: which one, from which checkpoint, and whether this command describes the same run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.console import Console

from visionattn.config import BuildPolicy
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.folder import EarlierResults
from visionattn.runs.infer import adopt
from visionattn.runs.open import OpenedRun
from visionattn.runs.table import relative
from visionattn.training.checkpoints import LAST, PREVIOUS, damage
from visionattn.training.ending import EARLY
from visionattn.weights import read_checkpoint

RESULTS = "results.json"
FREE = (
    *("run_dir", "ckpt", "resume", "overwrite", "name", "recipe_name", "recognized*", "optimized_metric", "start_as"),
    *("logger*", "callbacks.best*", "callbacks.last*", "callbacks.lr*"),
    *(
        f"trainer.{key}"
        for key in (
            "max_epochs",
            "max_steps",
            "max_time",
            "devices",
            "num_nodes",
            "accelerator",
            "strategy*",
            "profiler*",
        )
    ),
    *(f"trainer.{key}" for key in ("log_every_n_steps", "detect_anomaly", "benchmark", "limit_val_batches")),
    *(f"data.{key}" for key in ("batch_size", "eval_batch_size", "num_workers", "pin_memory", "prefetch_factor")),
    *("data.timeout", "data.root", "data.unreadable_budget"),
    *("task.compile", "task.channels_last", "task.grad_checkpointing", "task.nonfinite", "task.monitor*"),
    *("task.evaluators*", "backbone.card*"),
)
"""Keys that may change when a run is resumed: where things lie, how the work is divided, what is written or only
told, as a card is; a value of it that a training uses is compared where it is used. The batch size may, as long as the
images per step stay the same; that is checked on its own."""
_REFERENCES = {"task.backbone": "backbone", "task.head": "head", "task.optimizer": "optim", "task.schedule": "schedule"}


def run_to_continue(cfg: DictConfig, proposed: Path) -> Path | None:
    """The newest run beside ``proposed`` that the same command began, or None.

    A command with ``resume=auto`` and no directory of its own resumes it.
    """
    folders = [path for path in proposed.parent.glob("*") if (path / "config.yaml").is_file()]
    for folder in sorted(folders, key=lambda path: path.name, reverse=True):
        began, now = OmegaConf.load(folder / "config.yaml"), copy.deepcopy(cfg)
        if isinstance(began, DictConfig):
            adopt(now, began)
            if not list(differences(began, now, free=_free(FREE, "trainer.max_epochs"))):
                return folder
    return None


def finished(cfg: DictConfig, run_dir: Path) -> EarlierResults | None:
    """The results of a run that is to be resumed and has come to its end, which is told; else None."""
    path = run_dir / RESULTS
    if cfg.resume is None or not path.is_file():
        return None
    contents = json.loads(path.read_text(encoding="utf-8"))
    if contents["end"] != end_of(cfg) or contents.get("stopped") not in (None, "", EARLY):
        return None
    if changed_since(run_dir, cfg):  # another run's command: check_resumable names what differs
        return None
    advice = "remove resume=auto or choose another hydra.run.dir to train again"
    Console().print(f"{relative(run_dir)} is already finished; {advice}", soft_wrap=True)
    return EarlierResults(contents["results"])


def changed_since(run_dir: Path, cfg: DictConfig) -> list[str]:
    """What differs from the configuration in the folder of a run and would make it another run."""
    began = OmegaConf.load(run_dir / "config.yaml")
    return list(differences(began, cfg)) if isinstance(began, DictConfig) else []


def end_of(cfg: DictConfig) -> dict[str, Any]:
    """Where a training ends."""
    return {key: cfg.trainer.get(key) for key in ("max_epochs", "max_steps")}


@dataclass
class Resumption:
    """The state that a training resumes from.

    Attributes:
        run: the opened checkpoint; None: the training begins.
        damaged: newer checkpoints that were passed over, and what is wrong with each.
    """

    run: OpenedRun | None = None
    damaged: dict[Path, str] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """The checkpoint."""
        return self.run.path if self.run else None


def open_resumed(cfg: DictConfig, run_dir: Path, policy: BuildPolicy) -> Resumption:
    """Open the checkpoint to resume from: ``ckpt``, or with ``resume=auto`` the newest whole checkpoint of the run.

    Raises:
        ConfigError: ``resume`` has another value.
        CheckpointError: ``ckpt`` is missing, damaged or unsafe to read.
    """
    if cfg.resume not in (None, "auto"):
        raise ConfigError(f"resume is auto or null, got {cfg.resume!r}; a certain checkpoint is given as ckpt=PATH")
    if cfg.ckpt is not None:
        path = Path(cfg.ckpt)
        with _opened(path) as file:
            contents = read_checkpoint(path, file, weights=False)
            _check_whole(path, contents)
            if fault := damage(path, file):
                raise CheckpointError(f"the checkpoint {path} is damaged: {fault}")
        return Resumption(OpenedRun(path, contents, policy))
    return newest(run_dir / "checkpoints", policy) if cfg.resume else Resumption()


def newest(folder: Path, policy: BuildPolicy) -> Resumption:
    """The newest whole checkpoint of a run's folder; its checksums are verified and it is read in one opening."""
    damaged: dict[Path, str] = {}
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        with _opened(path) as file:
            if fault := damage(path, file):
                damaged[path] = fault
                continue
            return Resumption(OpenedRun(path, read_checkpoint(path, file, weights=False), policy), damaged)
    return Resumption(None, damaged)


def _opened(path: Path) -> AbstractContextManager[BinaryIO | None]:
    """The file; nothing for a folder, or where there is none."""
    return path.open("rb") if path.is_file() else nullcontext()


def _check_whole(path: Path, contents: Mapping[str, Any]) -> None:
    missing = {"state_dict", "optimizer_states", "loops", "config", "position"} - contents.keys()
    if missing:
        raise CheckpointError(
            f"{path} cannot be resumed from: it lacks {', '.join(sorted(missing))}; "
            f"resume from a last.ckpt of `visionattn train`, or start from its weights with weights={path}"
        )


def check_resumable(run: OpenedRun | None, cfg: DictConfig, images_per_step: int) -> list[str]:
    """Make sure that a checkpoint belongs to the run that ``cfg`` describes, and return what differs and may.

    Raises:
        CheckpointError: it is none of ``visionattn train``'s, or something differs that makes it another run; the
            message names the keys with both values.
    """
    if run is None:
        return []
    path, contents = run.path, run.contents
    _check_whole(path, contents)
    began = run.config
    changed = list(differences(began, cfg))
    if changed:
        raise CheckpointError(
            f"{path} belongs to a run with other settings, which cannot change on resuming. Different: "
            + "; ".join(changed)
        )
    before = contents.get("images_per_step", images_per_step)
    if before != images_per_step:
        raise CheckpointError(
            f"{path} was made with {before} images per step, this command has {images_per_step} (data.batch_size times "
            "processes times trainer.accumulate_grad_batches); choose data.batch_size so that it is the same"
        )
    return list(differences(began, cfg, free=_REFERRING))


def differences(began: DictConfig, now: DictConfig, free: tuple[str, ...] = ()) -> Iterator[str]:
    """``key: was value, is now value`` for every key that differs, but for the ``free`` ones (none given: FREE)."""
    run_dir = began.get("run_dir")
    old, new = dict(_flat(_resolved(began, run_dir))), dict(_flat(_resolved(now, run_dir)))
    free = free or FREE
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or any(fnmatch(key, pattern) for pattern in free):
            continue
        if not _repeats(key, old, new):
            yield f"{key}: was {old.get(key, 'not set')}, is now {new.get(key, 'not set')}"


_REFERRING = ("run_dir", "ckpt", "resume", "logger*", "callbacks.best*", "callbacks.last*")


def _free(patterns: tuple[str, ...], *but: str) -> tuple[str, ...]:
    return tuple(pattern for pattern in patterns if pattern not in but)


def _repeats(key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether the same difference shows under the key that this one refers to."""
    for prefix, origin in _REFERENCES.items():
        if key.startswith(f"{prefix}."):
            other = origin + key.removeprefix(prefix)
            return (old.get(other), new.get(other)) == (old.get(key), new.get(key))
    return False


def _resolved(cfg: DictConfig, run_dir: str | None) -> Any:
    """Everything resolved, as if the run lay in ``run_dir``; without Hydra's own settings."""
    cfg = copy.deepcopy(cfg)
    with read_write(cfg), open_dict(cfg):
        cfg.pop("hydra", None)
        cfg.run_dir = run_dir
    return OmegaConf.to_container(cfg, resolve=True)


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values
