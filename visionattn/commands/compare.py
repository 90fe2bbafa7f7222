"""``visionattn compare``: the plan of a comparison before its trainings, and its table after them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from visionattn.comparison import files, ranking, table
from visionattn.comparison.existing import read_runs
from visionattn.comparison.measure import measure
from visionattn.comparison.page import page
from visionattn.comparison.plan import Plan
from visionattn.comparison.results import Result, of_plan
from visionattn.comparison.summary import Cost, Facts, Summary, summarize
from visionattn.config import DEFAULT_POLICY, BuildPolicy
from visionattn.config.messages import one_line
from visionattn.errors import ConfigError, counted
from visionattn.runs.table import relative

LONGEST, SHORTEST, PART = 30.0, 3.0, 0.01
"""Seconds of a measurement that nobody set: a hundredth of the trainings, within these bounds."""


def tell_plan(plan: Plan) -> None:
    """Print what will be trained: the entries, what they share, and what was changed to match them."""
    reference = plan.reference
    print(f"{counted(len(plan.entries), 'entry', 'entries')}, {counted(len(plan.seeds), 'seed')}, metric {plan.metric}")
    for entry in plan.entries:
        shares = "the reference"
        if entry is not reference:
            part = 100 * entry.shared / entry.params
            shares = f"{entry.shared:,} ({part:.0f} %) start as in {reference.name}"
        print(f"  {entry.name}: {entry.params:,} parameters, {entry.gmacs:.4g} GMACs; {shares}")
        if entry.changed:
            print(f"    {entry.changed}: {table.deviation(entry.deviation)} from {reference.name}")
    sys.stdout.flush()


def conclude(plan: Plan, folder: Path, seconds: float | None, policy: BuildPolicy = DEFAULT_POLICY) -> Summary:
    """Measure the entries, write the table of a comparison into its folder, and print it.

    Args:
        plan: of the comparison.
        folder: where its trainings lie.
        seconds: of the measurement; 0: none, None: by the length of the trainings.
        policy: what configurations may build.
    """
    results = of_plan(plan, folder)
    costs = files.costs_in(folder) if seconds == 0 else _costs(results, seconds, policy)
    facts = {
        one.name: Facts(one.params, one.gmacs, one.shared, one.changed, one.deviation, costs.get(one.name))
        for one in plan.entries
    }
    found = summarize(
        results, plan.metric, plan.mode, facts, _notes(costs), about=plan.about, command=plan.command, folder=folder
    )
    show(found, folder)
    return found


def check_published(published: object, entries: Sequence[str]) -> None:
    """Refuse models that are not published, or for entries that do not exist, before anything trains.

    Raises:
        ConfigError: names the entry and what is wrong.
    """
    if not isinstance(published, dict):
        raise ConfigError(f"published maps entries to backbones, such as {{window:swin_tiny}}, and is {published}")
    for name in published:
        if name not in entries:
            raise ConfigError(f"published.{name} is no entry (entries: {', '.join(entries)})")
    ranking.cards_of(published)


def tell_ranking(found: Summary, published: Mapping[str, str], folder: Path) -> None:
    """Print and write how the ranking of a comparison goes with the published one, where models are named."""
    both = ranking.ranking_of(found, published) if published else None
    if both is not None:
        print("\n".join(["", *ranking.lines(both, found.metric.removeprefix("val/"))]), flush=True)
        print(relative(ranking.write(both, folder)), flush=True)


def show(found: Summary, folder: Path | None) -> None:
    """Print the table of a comparison, and write its files where there is a folder."""
    print("\n".join(["", *table.lines(found)]), flush=True)
    if folder is None:
        print("\ndir=FOLDER writes the table as CSV, Markdown, LaTeX and JSON", flush=True)
    else:
        written = [*files.write(found, folder), page(found).write(folder / "report.html")]
        print(f"\n{relative(folder)}: {', '.join(path.name for path in written)}", flush=True)


def of_folders(
    folders: Sequence[str],
    folder: Path | None,
    seconds: float,
    policy: BuildPolicy,
    command: str,
    reference: str | None = None,
) -> Summary:
    """The table of runs that exist.

    Args:
        folders: of runs, of sweeps or of a comparison.
        folder: where the files of the table go; None: into that of a sweep or a comparison, for runs nowhere.
        seconds: of a measurement; 0: none.
        policy: what configurations may build.
        command: as it was typed.
        reference: name of the entry that the others are compared with; None: the first.

    Raises:
        ConfigError: a folder holds no run, or runs that cannot be compared.
    """
    runs = read_runs([Path(name).expanduser() for name in folders], reference)
    costs = _costs(runs.results, seconds, policy) if seconds else files.costs_in(runs.folder)
    facts = {
        name: Facts(one.params, one.gmacs, one.shared, one.changed, one.deviation, costs.get(name))
        for name, one in runs.facts.items()
    }
    notes = [*runs.notes, *(_notes(costs) if costs else [])]
    place = folder or runs.folder
    found = summarize(runs.results, runs.metric, runs.mode, facts, notes, runs.about, command, place)
    show(found, place)
    return found


def of_sweep(folder: Path) -> None:
    """Add the comparison to the table of a sweep whose jobs repeat configurations with several seeds."""
    try:
        runs = read_runs([folder])
    except ConfigError:  # jobs that cannot be compared, as of several data
        return
    show(summarize(runs.results, runs.metric, runs.mode, runs.facts, runs.notes, runs.about, "", folder), folder)


def _costs(results: Sequence[Result], seconds: float | None, policy: BuildPolicy) -> dict[str, Cost]:
    """Entry -> what it costs; nothing where nothing is to be measured, or no run is left to measure."""
    done = {
        one.entry: one.folder for one in reversed(results) if not one.error and (one.folder / "config.yaml").is_file()
    }
    if seconds is None:
        seconds = min(max(PART * sum(one.seconds for one in results), SHORTEST), LONGEST)
    if not done or not seconds:
        return {}
    names = [name for name in dict.fromkeys(one.entry for one in results) if name in done]
    print(f"measuring {counted(len(names), 'model')} in turn, about {seconds:.0f} s", flush=True)
    try:
        return measure({name: done[name] for name in names}, seconds, policy)
    except Exception as error:  # noqa: BLE001 - the results of the trainings are told all the same
        print(f"visionattn: speed and memory could not be measured: {one_line(error)}", file=sys.stderr, flush=True)
        return {}


def _notes(costs: dict[str, Cost]) -> list[str]:
    if not costs:
        return []
    notes = [
        "train/s and infer/s are images a second, measured in turn on this machine after the trainings; MiB is the "
        "peak of all tensors in a training step"
    ]
    if all(cost.energy is None for cost in costs.values()):
        notes.append("energy is not told by this machine")
    return notes
