"""The trainings of a comparison as they ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionattn.comparison.plan import Plan, is_done, read_outcome, seed_folder
from visionattn.runs.folder import OUTCOME

RESULTS = "results.json"


@dataclass(frozen=True)
class Result:
    """One training.

    Attributes:
        entry: name of what was trained.
        seed: of the training.
        folder: of the run.
        figures: of the final table of the training, by name; empty where it failed.
        error: why it failed; empty where it did not.
    """

    entry: str
    seed: int
    folder: Path
    figures: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures of a validation, without those that are not finite."""
        return {name: float(value) for name, value in self.figures.items() if _is_metric(name, value)}

    @property
    def params(self) -> int | None:
        """Parameters of backbone and head."""
        value = self.figures.get("parameters")
        return value if isinstance(value, int) else None

    @property
    def gmacs(self) -> float | None:
        """Multiply-adds of an image, in units of 1e9."""
        return next((value for name, value in self.figures.items() if name.startswith("GMACs")), None)

    @property
    def seconds(self) -> float:
        """Of the training."""
        return float(self.figures.get("seconds") or 0.0)


def _is_metric(name: str, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and "/" in name and not name.startswith("images/s")


def of_plan(plan: Plan, folder: Path) -> list[Result]:
    """The trainings of a plan, those that have not run too."""
    found = []
    for entry, seed in plan.jobs():
        place = folder / entry.folder / seed_folder(seed)
        outcome = read_outcome(place)
        if outcome is None:
            found.append(Result(entry.name, seed, place, error="it has not been trained"))
        elif is_done(place):
            found.append(Result(entry.name, seed, place, outcome["results"]))
        else:
            stopped = (outcome.get("results") or {}).get("stopped by")
            found.append(Result(entry.name, seed, place, error=outcome["error"] or f"it was stopped by {stopped}"))
    return found


def figures_of(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Figures of the run of a folder and, where it failed, why."""
    outcome = read_outcome(folder) or {}
    if (folder / RESULTS).is_file():
        contents = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return contents["results"], ""
    return outcome.get("results") or {}, outcome.get("error") or "it has no results.json: it has not come to its end"


def holds_run(folder: Path) -> bool:
    """Whether a training began in a folder."""
    return any((folder / name).is_file() for name in (RESULTS, OUTCOME, "config.yaml"))
