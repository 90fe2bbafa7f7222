"""Sweeps: Hydra's sweeper and launcher run the jobs, each job writes down how it ended, and a table sums up."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionattn.cli.arguments import Request
from visionattn.cli.launch import ranks
from visionattn.cli.launch.job import Job, words_of
from visionattn.errors import VisionAttnError, counted
from visionattn.runs.folder import OUTCOME
from visionattn.runs.sweep_table import print_table, write_table


def run_sweep(hydra: Any, request: Request, chosen: Mapping[str, str | None], resumed: bool = False) -> int:
    """Run every job, those after a failed one too. Returns 1 when one failed.

    Args:
        hydra: the application that composed the configuration.
        request: the command line.
        chosen: keys of the ``hydra`` node with other values than the composed ones; the sweep's folder among them.
        resumed: whether jobs that came to their end in an earlier sweep of this folder count too.
    """
    mark, folder = uuid.uuid4().hex, Path(str(chosen["hydra.sweep.dir"]))
    overrides = [word for word in request.overrides if not word.startswith(("hydra.mode=", "hydra.sweep.dir="))]
    outcomes: list[dict[str, Any]] = []
    try:
        words = [*overrides, *words_of(chosen), "hydra.mode=MULTIRUN"]
        hydra.multirun(request.config_name, Job.of(request, mark), words)
    finally:
        outcomes = _outcomes(folder, None if resumed else mark)
        if outcomes and ranks.is_first():
            _report(outcomes, folder)
    if not outcomes and ranks.is_first():
        raise VisionAttnError(f"no job of the sweep left a result in {folder}")
    return int(any(outcome["error"] for outcome in outcomes))


def _outcomes(folder: Path, mark: str | None) -> list[dict[str, Any]]:
    """How the jobs of a folder ended; those of one sweep alone where its mark is given."""
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob(OUTCOME)]
    return sorted((one for one in outcomes if mark in (None, one["sweep"])), key=lambda one: one["number"])


def _report(outcomes: list[dict[str, Any]], folder: Path) -> None:
    """Print the table of the jobs, and write it into the sweep's folder."""
    print(folder)
    print_table(outcomes, folder)
    failed = sum(bool(one["error"]) for one in outcomes)
    files = ", ".join(file.name for file in write_table(outcomes, folder))
    finished = f"{len(outcomes) - failed} of {counted(len(outcomes), 'job')} finished"
    print(finished + (f", {failed} failed" if failed else "") + f"; the table is in {files}")
    if _repeats_seeds(outcomes):
        from visionattn.commands.compare import of_sweep

        of_sweep(folder)


def _repeats_seeds(outcomes: list[dict[str, Any]]) -> bool:
    """Whether the jobs that came to their end are of several seeds, and differ in more than these."""
    words = [[str(word) for word in one["overrides"]] for one in outcomes if not one["error"]]
    seeds = {word for one in words for word in one if word.startswith("seed=")}
    others = {tuple(word for word in one if not word.startswith("seed=")) for one in words}
    return len(seeds) > 1 and len(others) > 1
