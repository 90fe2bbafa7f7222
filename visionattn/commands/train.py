"""``visionattn train``: build, fit, and leave a folder that explains itself."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import DictConfig

from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.columns import check_fit
from visionattn.config.messages import plain
from visionattn.runs import report, resume
from visionattn.runs.build import Run, build
from visionattn.runs.description import about
from visionattn.runs.infer import Inference, adopt, infer
from visionattn.runs.live_report import LiveReport
from visionattn.runs.pretrained import check_weights, start_from
from visionattn.runs.settings import Composition, changes, far_rate, settings
from visionattn.runs.settings_block import block
from visionattn.runs.start import start_as
from visionattn.runs.table import Figure, tell_settings, values_of
from visionattn.runs.talking import data_in_words
from visionattn.runs.trainer import explained
from visionattn.training.monitor import check_monitors


def run(
    cfg: DictConfig, *, dry_run: bool = False, run_dir: Path, command: str = "", policy: BuildPolicy = DEFAULT_POLICY
) -> dict[str, Any]:
    """Train what the config describes.

    Args:
        cfg: composed ``train.yaml``.
        dry_run: build everything, read labels, print the facts, and stop before images are read.
        run_dir: where everything goes.
        command: the command as typed, for the run card.
        policy: what configurations may build.

    Returns: the figures of the final table, by name; empty for a dry run.

    Raises:
        VisionAttnError: a mistake of configuration or data, a non-finite loss, an unusable checkpoint.
    """
    seed_everything(cfg.seed, verbose=False)
    made = Composition.of_this_job(cfg.get("recognized"))
    check_fit(cfg, made.choices)
    resumed = resume.open_resumed(cfg, run_dir, policy)
    if earlier := resume.finished(cfg, run_dir):
        return earlier
    found = settings(cfg, _inferred(cfg, policy, resumed), made)
    run = build(cfg, run_dir, policy, resumed.run, shapes_alone=dry_run)
    facts, first = run.facts(cfg), run.trainer.is_global_zero
    notices = resume.check_resumable(resumed.run, cfg, run.batch)
    shown = block(found, cfg.recipe_name)
    if first:
        tell_settings(block(found, cfg.recipe_name, about(cfg, facts)), far_rate(cfg, run.batch, made))
    if dry_run:
        return _dry_run(cfg, run, resumed.run is None)
    if first:
        report.begin(cfg, run_dir, resumed, notices)
        live = LiveReport(cfg, run, run_dir, command, facts, changes(found, made)).attached()
    results = _fit(cfg, run, resumed, facts, policy)
    if first:
        report.write_report(cfg, run, run_dir, command, results, shown, live.finish(results))
    return values_of(results)


def _inferred(cfg: DictConfig, policy: BuildPolicy, resumed: resume.Resumption) -> Inference:
    """What the configuration leaves open, filled in: as the resumed run began, else from the data and the machine."""
    kept = adopt(cfg, resumed.run.config) if resumed.run else []
    return infer(cfg, policy).after(kept)


def _dry_run(cfg: DictConfig, run: Run, begins: bool) -> dict[str, Any]:
    """What a training would meet before its first step; there are no results."""
    run.data.setup("fit")  # labels, not images
    run.task.meet(run.data)
    check_monitors([run.task.monitor], run.task.evaluators, run.task.has_validation_loss)
    if cfg.weights is not None and begins:
        check_weights(run.task, cfg, run.trainer.is_global_zero, partial(_class_names, run))
    if run.trainer.is_global_zero:
        print(f"data: {data_in_words(run.data)}\ndry run: everything can be built; labels were read, images were not")
    return {}


def _class_names(run: Run) -> list[str]:
    """Names of the classes that are trained, for which labels are read."""
    run.data.trainer = run.trainer  # so that only the first process says what there is to say of the data
    run.data.setup("fit")
    return run.data.class_info.names


def _fit(
    cfg: DictConfig, run: Run, resumed: resume.Resumption, facts: dict[str, Any], policy: BuildPolicy
) -> dict[str, Any]:
    """Train, from weights or from where a run stopped; the figures of the final table."""
    if cfg.get("start_as") is not None and resumed.run is None:
        start_as(run.task, cfg, policy)
    if cfg.weights is not None and resumed.run is None:
        names, first = partial(_class_names, run), run.trainer.is_global_zero
        told = start_from(run.task, cfg.weights, cfg.weights_part, first, names)
        facts["weights"] = Figure(str(cfg.weights), told)
    path, resumed.run = resumed.path, None  # Lightning has the contents; they need not stay in memory
    start = time.perf_counter()
    with explained(plain(cfg.trainer)):
        run.trainer.fit(run.task, datamodule=run.data, ckpt_path=path, weights_only=True)
    return report.results_of(run, facts, time.perf_counter() - start)
