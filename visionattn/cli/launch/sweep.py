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
from visionattn.errors import VisionAttnError
from visionattn.runs.folder import OUTCOME


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
            _print(outcomes, folder)
    if not outcomes and ranks.is_first():
        raise VisionAttnError(f"no job of the sweep left a result in {folder}")
    return int(any(outcome["error"] for outcome in outcomes))


def _outcomes(folder: Path, mark: str | None) -> list[dict[str, Any]]:
    """How the jobs of a folder ended; those of one sweep alone where its mark is given."""
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob(OUTCOME)]
    return sorted((one for one in outcomes if mark in (None, one["sweep"])), key=lambda one: one["number"])


def _print(outcomes: list[dict[str, Any]], folder: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shared = set.intersection(*(set(one["overrides"]) for one in outcomes)) if len(outcomes) > 1 else set()
    metrics = list(dict.fromkeys(name for one in outcomes for name, v in (one["results"] or {}).items() if _number(v)))
    table = Table(box=box.SIMPLE_HEAD, title=str(folder), title_justify="left")
    for title in ("job", "choices"):
        table.add_column(title, justify="right" if title == "job" else "left")
    for title in (*metrics[:6], "seconds"):
        table.add_column(title, justify="right")
    table.add_column("outcome", overflow="fold")
    for one in outcomes:
        results = one["results"] or {}
        table.add_row(
            str(one["number"]),
            Text("\n".join(word for word in one["overrides"] if word not in shared)),
            *(_shown(results.get(name)) for name in metrics[:6]),
            f"{one['seconds']:.1f}",
            Text(f"failed: {one['error']}" if one["error"] else "done", style="red" if one["error"] else "green"),
        )
    failed = sum(bool(one["error"]) for one in outcomes)
    console = Console()
    console.print(table)
    console.print(
        f"{len(outcomes) - failed} of {len(outcomes)} jobs finished" + (f", {failed} failed" if failed else "")
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if _number(value) else ""
