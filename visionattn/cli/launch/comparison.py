"""``visionattn compare``: composed and checked entry by entry, planned, then trained through Hydra's launcher."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionattn.cli.arguments import Request
from visionattn.cli.launch import ranks
from visionattn.cli.launch.comparison_keys import divided, seconds_of, with_experiment
from visionattn.cli.launch.directories import claim
from visionattn.cli.launch.job import Job, import_from_here, words_of
from visionattn.cli.launch.preflight import check
from visionattn.cli.showing import show_config
from visionattn.comparison.entries import Entry, Question
from visionattn.comparison.plan import (
    REFERENCE,
    Plan,
    begun_before,
    check_folder,
    is_done,
    merged,
    seed_folder,
)
from visionattn.config.application import isolated_hydra
from visionattn.config.composing import compose_in
from visionattn.config.hydra_nodes import resolvable
from visionattn.config.messages import plain, unresolved_plain
from visionattn.config.spelling import typed_choices
from visionattn.errors import ConfigError, counted
from visionattn.files import write_whole

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PARENT = Path("outputs", "compare")


def run_comparison(request: Request) -> int:
    """Run a comparison; the exit code, 1 where a training failed."""
    if request.multirun:
        raise ConfigError("compare trains every entry with every seed itself; -m is for train")
    if ranks.started_from_outside():
        raise ConfigError("start compare once: trainer.devices=N starts the processes of each training")
    own, train = divided(request)
    if not request.cfg:
        import_from_here(request.policy)
    if request.folders:
        return _of_folders(request, own, train)
    with isolated_hydra(request.config_dirs, "train") as hydra:
        keys, train = with_experiment(hydra, own, train)
        question, seconds = Question.of(keys), seconds_of(keys["measure"])
        base = compose_in(hydra, "train", train)
        if request.cfg:
            return show_config(base, request)
        return _Comparison(hydra, request, question, train, base, keys).run(seconds)


class _Comparison:
    """A comparison between its command line and its table."""

    def __init__(
        self,
        hydra: Any,
        request: Request,
        question: Question,
        train: Sequence[str],
        base: DictConfig,
        keys: dict[str, Any],
    ) -> None:
        self.hydra, self.request, self.question, self.keys = hydra, request, question, keys
        self.train, self.base = list(train), base
        self.choices = typed_choices(base, base.hydra.runtime.choices)
        self.entries = question.entries()

    def run(self, seconds: float | None) -> int:
        """Plan, train, measure for so many seconds, and sum up."""
        check(self.base, "train", self.request.policy, complete=False)
        self._check_stages()
        configured = [self._composed(entry) for entry in self.entries]
        told = ", ".join(
            f"{name}={self.choices[name]}"
            for name in ("experiment", "task", "backbone", "data")
            if self.choices.get(name) and not (name == "backbone" and self.question.backbones)
        )
        names = ", ".join(entry.name for entry in self.entries)
        print(f"visionattn compare: {names}; {told}; loading PyTorch", flush=True)
        from visionattn.commands.compare import check_published, conclude, tell_plan, tell_ranking
        from visionattn.comparison import files

        check_published(self.keys["published"], [entry.name for entry in self.entries])
        folder, plan = self._planned(configured)
        tell_plan(plan)
        if self.request.dry_run:
            print("dry run: every entry can be built; nothing was trained")
            return 0
        waiting = [
            (entry, seed) for entry, seed in plan.jobs() if not is_done(folder / entry.folder / seed_folder(seed))
        ]
        self._tell(plan, folder, len(waiting))
        try:
            self._train(plan, folder, waiting)
        except BaseException:
            if any(is_done(folder / entry.folder / seed_folder(seed)) for entry, seed in plan.jobs()):
                conclude(plan, folder, 0, self.request.policy)  # what is known so far
            raise
        again = not waiting and seconds is None and files.costs_in(folder)
        found = conclude(plan, folder, 0.0 if again else seconds, self.request.policy)
        tell_ranking(found, self.keys["published"], folder)
        return int(any(row.failed for row in found.rows))

    def _check_stages(self) -> None:
        """Raises ConfigError for a stage that a backbone of the comparison does not have."""
        for backbone in self.question.backbones or (None,):
            words = merged(self.train, [f"backbone={backbone}"]) if backbone and self.question.stages else self.train
            cfg = compose_in(self.hydra, "train", words) if words is not self.train else self.base
            known = list(plain(cfg.backbone).get("mixers") or {})
            for stage in self.question.stages:
                if stage not in known:
                    name = backbone or self.choices.get("backbone")
                    raise ConfigError(
                        f"stages={stage}: the backbone {name} has no stage {stage} whose mixer could be exchanged "
                        f"(stages: {', '.join(known) or 'none'})"
                    )

    def _composed(self, entry: Entry) -> tuple[Entry, DictConfig]:
        """The entry with its configuration, checked; what refers to the ``hydra`` node is filled in."""
        from omegaconf import OmegaConf, open_dict

        try:
            cfg = compose_in(self.hydra, "train", [*merged(self.train, entry.words), f"seed={self.question.seeds[0]}"])
            check(cfg, "train", self.request.policy)
        except ConfigError as error:
            raise ConfigError(f"in the entry {entry.name}: {error}") from error
        with resolvable(cfg) as whole, open_dict(whole):
            for name, value in unresolved_plain(whole).items():
                if isinstance(value, str) and "${hydra:" in value:
                    OmegaConf.update(whole, name, str(OmegaConf.select(whole, name)))
            del whole["hydra"]
        return entry, whole

    def _planned(self, configured: Sequence[tuple[Entry, DictConfig]]) -> tuple[Path, Plan]:
        """The folder and its plan; a comparison that was begun before keeps what it has found out then."""
        from visionattn.comparison.preparing import Composed, asked, prepare

        wanted = asked(self.question, self.entries, self.train)
        folder, parent = self._folder(), (_PARENT / self._name()).absolute()
        before = folder if folder else begun_before(parent, wanted)
        if before is not None and check_folder(before, wanted):
            return before, Plan.read(before)
        about = {
            name: self.choices[name]
            for name in ("experiment", "task", "backbone", "data", "recipe")
            if self.choices.get(name)
        }
        made = [Composed(entry, cfg) for entry, cfg in configured]
        plan, reference = prepare(self.question, made, self.train, self.request.policy, about, self.request.typed)
        if self.request.dry_run:
            return folder or parent, plan
        if folder is None:
            from datetime import datetime

            folder = claim(parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / REFERENCE, reference)
        plan.write(folder)
        return folder, plan

    def _name(self) -> str:
        """Of the folder of its comparisons: the experiment, else the backbone that the entries share."""
        experiment = self.choices.get("experiment")
        shared = "backbones" if self.question.backbones else self.choices.get("backbone")
        return str(experiment or shared).replace("/", "_")

    def _folder(self) -> Path | None:
        return None if self.keys["dir"] is None else Path(str(self.keys["dir"])).expanduser().absolute()

    def _tell(self, plan: Plan, folder: Path, waiting: int) -> None:
        trainings = len(plan.entries) * len(plan.seeds)
        done = f", {trainings - waiting} of them done before" if waiting < trainings else ""
        place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        print(f"{counted(trainings, 'training')}{done}, into {place}", flush=True)

    def _train(self, plan: Plan, folder: Path, waiting: Sequence[tuple[Any, int]]) -> None:
        """Train through Hydra's launcher: one after the other with the basic one, else all that are left at once."""
        from hydra._internal.callbacks import Callbacks
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher
        from hydra.core.plugins import Plugins
        from hydra.core.utils import JobStatus
        from hydra.types import HydraContext, RunMode

        if not waiting:
            return
        own = [word for word in self.train if word.startswith(("hydra.", "hydra/"))]
        words = [*self.train, *words_of({"hydra.sweep.dir": str(folder)}), "hydra.mode=MULTIRUN"]
        cfg = self.hydra.compose_config("train", words, run_mode=RunMode.MULTIRUN, with_log_configuration=True)
        callbacks = Callbacks(cfg)
        callbacks.on_multirun_start(config=cfg, config_name="train")
        context = HydraContext(config_loader=self.hydra.config_loader, callbacks=callbacks)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=self._job(folder), config=cfg
        )
        jobs = [[word for word in plan.words(entry, seed, folder) if word not in own] for entry, seed in waiting]
        step = 1 if isinstance(launcher, BasicLauncher) else len(jobs)
        for first in range(0, len(jobs), step):
            if step == 1:
                entry, seed = waiting[first]
                print(f"\ntraining {first + 1} of {len(jobs)}: {entry.name}, seed {seed}", flush=True)
            for done in launcher.launch(jobs[first : first + step], initial_job_idx=first):
                if done.status is JobStatus.FAILED:  # not of its own: a job writes its failure down
                    raise done._return_value
        callbacks.on_multirun_end(config=cfg, config_name="train")

    def _job(self, folder: Path) -> Job:
        """The job of every training; interrupted, it names the command that goes on."""
        words = shlex.split(self.request.typed)
        if self.keys["dir"] is None:
            words.append(f"dir={folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}")
        request = Request(
            self.request.typed,
            "train",
            self.train,
            self.request.config_dirs,
            self.request.allow,
            again=shlex.join(words),
        )
        return Job.of(request, uuid.uuid4().hex)


def _of_folders(request: Request, own: dict[str, Any], train: Sequence[str]) -> int:
    """The table of runs that exist."""
    other = [*train, *(f"{key}=..." for key in own if key not in ("dir", "measure", "reference"))]
    if other:
        raise ConfigError(f"{other[0]} is for trainings; folders of runs that exist are compared as they are")
    from visionattn.commands.compare import of_folders

    seconds = seconds_of(own.get("measure")) or 0.0
    folder = None if own.get("dir") is None else Path(str(own["dir"])).expanduser().absolute()
    of_folders(request.folders, folder, seconds, request.policy, request.typed, own.get("reference"))
    return 0
