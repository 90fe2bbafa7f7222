"""Runs that exist, read as a comparison: runs of one configuration are the seeds of one entry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from visionattn.comparison.plan import PLAN, Plan, is_done
from visionattn.comparison.results import Result, figures_of, holds_run, of_plan
from visionattn.comparison.summary import Facts
from visionattn.config.messages import nearest, plain
from visionattn.config.stored import parse_config
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.resume import differences
from visionattn.runs.sweep_table import differing
from visionattn.runs.table import relative

_PLACES = (
    *(
        "run_dir",
        "ckpt",
        "resume",
        "overwrite",
        "name",
        "backbone_name",
        "recipe_name",
        "start_as",
        "seed",
        "data.seed",
    ),
    *("optimized_metric", "logger*", "callbacks.*", "data.num_workers", "data.pin_memory", "data.timeout"),
)
"""Keys that make no other training of a run."""
_OF_THE_MODEL = re.compile(r"(backbone|head|task\.backbone|task\.head)\b")
_NAMED = 6  # differences in a note
_OWN = ("seed=", "resume=", "start_as=", "hydra.", "hydra/")


@dataclass(frozen=True)
class Existing:
    """Runs that were read.

    Attributes:
        results: those of the first entry first.
        metric: what is compared.
        mode: ``max`` or ``min``.
        facts: entry -> what is known of it.
        notes: what differs between the configurations beside the models.
        about: name -> text.
        folder: of the sweep or comparison that holds all runs; None: single runs were named.
    """

    results: tuple[Result, ...]
    metric: str
    mode: str
    facts: Mapping[str, Facts]
    notes: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class _Run:
    """A run with its configuration and, as far as it is known, its command."""

    folder: Path
    cfg: DictConfig
    words: tuple[str, ...] = ()


def read_runs(folders: Sequence[Path], reference: str | None = None) -> Existing:
    """Read runs, sweeps and comparisons.

    Args:
        folders: of each.
        reference: name of the entry that the others are compared with; None: the first that has a result.

    Raises:
        ConfigError: a folder holds no run, the runs are about different things, or there is one entry alone.
    """
    if len(folders) == 1 and (folders[0] / PLAN).is_file():
        return _of_plan(folders[0])
    runs = [_read(folder) for given in folders for folder in _runs_in(given)]
    repeated = next((run.folder for i, run in enumerate(runs) if run.folder in [one.folder for one in runs[:i]]), None)
    if repeated is not None:
        raise ConfigError(f"{repeated} is named twice")
    for run in runs[1:]:
        _check_comparable(runs[0], run)
    groups = _grouped(runs)
    if len(groups) < 2:
        many = f"all {len(runs)} runs are of one configuration" if len(runs) > 1 else f"{folders[0]} holds one run"
        raise ConfigError(f"a comparison needs two different configurations, and {many}")
    names = _names(groups)
    results = {name: [_result(name, run) for run in group] for name, group in zip(names, groups, strict=True)}
    for name, own in results.items():
        _check_seeds(name, own)
    first = _first(results, reference)
    order = sorted(names, key=lambda name: name != first)
    groups = [groups[names.index(name)] for name in order]
    facts = {}
    for name in order:
        done = next((one for one in results[name] if not one.error), results[name][0])
        facts[name] = Facts(params=done.params, gmacs=done.gmacs)
    task = groups[0][0].cfg.task
    notes = tuple(_notes(order, groups))
    one = folders[0] if len(folders) == 1 and _is_sweep(folders[0]) else None
    found = [one for name in order for one in sorted(results[name], key=lambda one: one.seed)]
    return Existing(tuple(found), str(task.monitor), str(task.monitor_mode), facts, notes, {}, one)


def _first(results: Mapping[str, Sequence[Result]], reference: str | None) -> str:
    if reference is None:
        return next((name for name, own in results.items() if any(not one.error for one in own)), next(iter(results)))
    if reference not in results:
        raise ConfigError(f"reference={reference} is no entry{nearest(reference, results)} ({', '.join(results)})")
    return reference


def _is_sweep(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("sweep.csv", "multirun.yaml"))


def _of_plan(folder: Path) -> Existing:
    plan = Plan.read(folder)
    facts = {one.name: Facts(one.params, one.gmacs, one.shared, one.changed, one.deviation) for one in plan.entries}
    return Existing(tuple(of_plan(plan, folder)), plan.metric, plan.mode, facts, (), plan.about, folder)


def _runs_in(folder: Path) -> Iterator[Path]:
    """The run of a folder, or those of the sweep or the comparison in it."""
    folder = folder.absolute()
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give folders of runs, of a sweep or of a comparison")
    if holds_run(folder):
        yield folder
        return
    found = sorted({path.parent for path in folder.rglob("config.yaml") if holds_run(path.parent)}, key=_natural)
    found = [path for path in found if path.name != ".hydra"]
    if not found:
        raise ConfigError(f"{folder} holds no run of `visionattn train` (no config.yaml and results.json)")
    yield from found


def _natural(path: Path) -> list[Any]:
    """A key that puts ``10`` behind ``9``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _read(folder: Path) -> _Run:
    file = folder / "config.yaml"
    try:
        cfg = parse_config(file.read_text(encoding="utf-8"), file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}; {folder} holds no whole run") from error
    except CheckpointError as error:
        raise ConfigError(f"{folder} is no run of `visionattn train`: {error}") from error
    if "monitor" not in cfg.task or "data" not in cfg:
        raise ConfigError(f"{folder} is no run of `visionattn train`: its configuration has no data or no task.monitor")
    words: Any = []
    overrides = folder / ".hydra" / "overrides.yaml"
    if overrides.is_file():
        words = OmegaConf.to_container(OmegaConf.load(overrides), resolve=False)
    kept = [str(word) for word in words if not str(word).lstrip("+~").startswith(_OWN)]
    return _Run(folder, cfg, tuple(kept))


def _check_comparable(first: _Run, run: _Run) -> None:
    for key, what in (
        ("task._target_", "tasks"),
        ("task.monitor", "metrics"),
        ("data.source._target_", "data"),
        ("data.num_classes", "numbers of classes"),
    ):
        one, other = (plain(OmegaConf.select(run.cfg, key, default=None)) for run in (first, run))
        if one != other:
            raise ConfigError(
                f"{relative(first.folder)} and {relative(run.folder)} are of different {what} ({key} is {one} and "
                f"{other}), and their figures cannot be compared"
            )


def _grouped(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs that differ in nothing but the seed, together."""
    groups: list[list[_Run]] = []
    for run in runs:
        own = next((group for group in groups if not any(differences(group[0].cfg, run.cfg, free=_PLACES))), None)
        if own is None:
            groups.append([run])
        else:
            own.append(run)
    return groups


def _names(groups: Sequence[Sequence[_Run]]) -> list[str]:
    """What differs between the command lines; folders where that is nothing or not known."""
    words = differing([{"overrides": _with_one_mixer(group[0])} for group in groups])
    names = [", ".join(own) or "unchanged" for own in words]
    places = [str(relative(group[0].folder)) for group in groups]
    return [place if names.count(name) > 1 else name for name, place in zip(names, places, strict=True)]


def _with_one_mixer(run: _Run) -> list[str]:
    """The overrides, with ``mixer=NAME`` where every stage got the same mixer."""
    places = {f"mixer@backbone.mixers.{stage}" for stage in run.cfg.backbone.get("mixers") or {}}
    chosen = {key: value for key, _, value in (word.partition("=") for word in run.words) if key in places}
    if not places or chosen.keys() != places or len(set(chosen.values())) > 1:
        return list(run.words)
    return [f"mixer={next(iter(chosen.values()))}", *(one for one in run.words if one.partition("=")[0] not in places)]


def _result(name: str, run: _Run) -> Result:
    figures, error = figures_of(run.folder)
    if not error and not is_done(run.folder) and figures.get("stopped by"):
        error = f"it was stopped by {figures['stopped by']}"
    seed = run.cfg.get("seed", 0)
    return Result(name, int(seed or 0), run.folder, figures, error)


def _check_seeds(name: str, results: Sequence[Result]) -> None:
    seeds = [result.seed for result in results]
    twice = next((i for i, seed in enumerate(seeds) if seed in seeds[:i]), None)
    if twice is not None:
        first = results[seeds.index(seeds[twice])]
        raise ConfigError(
            f"{relative(first.folder)} and {relative(results[twice].folder)} are the same training ({name}, seed "
            f"{seeds[twice]})"
        )


def _notes(names: Sequence[str], groups: Sequence[Sequence[_Run]]) -> Iterator[str]:
    """What differs beside the models."""
    first = groups[0][0].cfg
    for name, group in zip(names[1:], groups[1:], strict=True):
        found = [one for one in differences(first, group[0].cfg, free=_PLACES) if not _OF_THE_MODEL.match(one)]
        told = [re.sub(r": was (.*), is now (.*)", r" \1 and \2", one) for one in found]
        if told:
            more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
            yield f"{names[0]} and {name} differ beside the model: {'; '.join(told[:_NAMED])}{more}"
    starts = {bool(run.cfg.get("start_as")) for group in groups[1:] for run in group}
    if starts == {False}:
        yield "the runs did not start from shared weights: a difference includes that of their first weights"
