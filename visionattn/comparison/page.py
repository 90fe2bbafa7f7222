"""``report.html`` of a comparison: verdict, table, curves, pairs, costs and every training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from visionattn.comparison.files import METHOD, metric_names
from visionattn.comparison.results import Result
from visionattn.comparison.statistics import Estimate
from visionattn.comparison.summary import Row, Summary
from visionattn.comparison.table import deviation, probability, remarks, with_interval
from visionattn.comparison.verdict import rounded, sentences
from visionattn.drawing.plots import read_metrics
from visionattn.errors import counted
from visionattn.reports import Bars, Cell, Column, Curves, Facts, Panels, Report, Section, Series, Table, Text


def page(found: Summary) -> Report:
    """The report of a comparison."""
    seeds = counted(len(found.seeds), "seed")
    about = ", ".join(f"{name} {value}" for name, value in found.about.items())
    files = [f"comparison.{ending}" for ending in ("csv", "md", "tex", "json")]
    report = Report(
        f"Comparison of {found.metric}",
        f"{counted(len(found.rows), 'entry', 'entries')}, {seeds}" + (f"; {about}" if about else ""),
        command=found.command,
        headline={row.name: with_interval(row.metrics[found.metric]) for row in found.ranked[:4]},
        links={name: name for name in files},
    )
    report.add(Text("Verdict", sentences(found)), _results(found), *_charts(found))
    report.add(
        *_costs(found), *_pairs(found), *_others(found), _trainings(found), *_remarks(found), Text("Method", METHOD)
    )
    return report


def _results(found: Summary) -> Table:
    reference = found.rows[0].name
    columns: list[str | Column] = [
        "entry",
        Column(found.metric, help="mean over seeds ± half of Student's t interval at 95 %"),
        Column("bootstrap", help="percentile interval of the mean at 95 %"),
        Column(f"minus {reference}", help="mean difference, paired by seed, ± half of its interval"),
        Column("p (Holm)", help="of a paired t test, adjusted for all pairs"),
        "seeds",
    ]
    rows = [_result(found, row) for row in found.rows]
    return Table("Results", columns, rows, note="A click on a heading sorts.")


def _result(found: Summary, row: Row) -> list[object]:
    one, versus = row.metrics.get(found.metric), found.versus(row)
    return [
        row.name,
        _cell(one),
        _ends(one),
        Cell(with_interval(versus[0], signed=True), versus[0].mean) if versus else None,
        Cell(probability(versus[1].p), versus[1].p) if versus and versus[1].p is not None else None,
        len(row.values),
    ]


def _cell(one: Estimate | None) -> Cell | None:
    return None if one is None else Cell(with_interval(one), one.mean)


def _ends(one: Estimate | None) -> Cell | None:
    if one is None or one.bootstrap is None:
        return None
    low, high = one.bootstrap
    return Cell(f"{low:.2f} to {high:.2f}", one.mean)


def _charts(found: Summary) -> Iterator[Section]:
    """The metric while training, and against the cost."""
    curves = {
        row.name: _curve([one for one in found.results if one.entry == row.name], found.metric) for row in found.rows
    }
    drawn = {name: one for name, one in curves.items() if one is not None and len(one.x) > 1}
    panels: list[Section] = []
    if drawn:
        note = "Means over seeds; a band reaches from the least to the most."
        panels.append(Curves("While training", drawn, "optimizer step", found.metric, note=note))
    points = {
        row.name: ([row.facts.gmacs], [row.metrics[found.metric].mean])
        for row in found.rows  # in the order of the curves, so that the colors agree
        if row.facts.gmacs is not None and found.metric in row.metrics
    }
    if len(points) > 1:
        panels.append(
            Curves(
                "Against the cost",
                points,
                "GMACs of an image",
                found.metric,
                x_range=_around(points, 0),
                y_range=_around(points, 1),
            )
        )
    if panels:
        yield Panels("Charts", panels)


def _around(points: dict[str, tuple[list[float], list[float]]], axis: int) -> tuple[float, float]:
    """Ends of an axis with room beside the outer points."""
    values = [one[axis][0] for one in points.values()]
    room = 0.1 * (max(values) - min(values) or abs(values[0]) or 1.0)
    return min(values) - room, max(values) + room


def _curve(results: list[Result], metric: str) -> Series | None:
    """The metric over steps, of the steps that all seeds have."""
    files = [one.folder / "metrics.csv" for one in results if not one.error]
    found = [dict(read_metrics(file).get(metric, [])) for file in files if file.is_file()]
    steps = sorted(set.intersection(*map(set, found))) if found else []
    if not steps:
        return None
    values = np.array([[one[step] for step in steps] for one in found])
    band = (values.min(0), values.max(0)) if len(values) > 1 else (None, None)
    return Series(steps, values.mean(0), *band)


def _costs(found: Summary) -> Iterator[Section]:
    columns = ["entry", "parameters", "shared", "changed", "off by", "GMACs", "train/s", "infer/s", "MiB", "J/image"]
    rows = []
    for row in found.rows:
        facts, cost = row.facts, row.facts.cost
        off = None if facts.deviation is None else Cell(deviation(facts.deviation), facts.deviation)
        known = (cost.training, cost.inference, cost.memory, cost.energy) if cost else (None,) * 4
        memory = None if known[2] is None else known[2] / 2**20
        figures = [_round(value) for value in (*known[:2], memory, known[3])]
        rows.append([row.name, facts.params, facts.shared, facts.changed or None, off, _round(facts.gmacs), *figures])
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    note = "shared: parameters that start with the values of the first entry; train/s, infer/s: images a second."
    if len(kept) > 1:
        yield Table("Costs", [columns[i] for i in kept], [[row[i] for i in kept] for row in rows], note)
    speeds = {row.name: row.facts.cost.training for row in found.rows if row.facts.cost and row.facts.cost.training}
    if speeds:
        yield Bars("Training speed, images a second", speeds, digits=1)


def _round(value: float | None) -> Cell | None:
    return None if value is None else Cell(rounded(value), value)


def _pairs(found: Summary) -> Iterator[Section]:
    rows = [
        [
            pair.first,
            pair.second,
            Cell(with_interval(pair.difference, signed=True), pair.difference.mean),
            _ends(pair.difference),
            None if pair.p is None else Cell(probability(pair.p), pair.p),
            "yes" if pair.told_apart else "no",
        ]
        for pair in found.pairs
    ]
    columns = ["better", "worse", "difference", "bootstrap", "p (Holm)", "told apart"]
    if rows:
        yield Table("Every pair", columns, rows, "The first has the better mean; differences are paired by seed.")


def _others(found: Summary) -> Iterator[Section]:
    names = [name for name in metric_names(found) if name != found.metric]
    if names:
        rows = [[row.name, *(_cell(row.metrics.get(name)) for name in names)] for row in found.rows]
        yield Table("Other figures", ["entry", *names], rows)


def _trainings(found: Summary) -> Table:
    rows = [
        [
            one.entry,
            one.seed,
            one.metrics.get(found.metric),
            one.seconds or None,
            one.error or "done",
            _place(found, one),
        ]
        for one in found.results
    ]
    return Table("Trainings", ["entry", "seed", found.metric, Column("seconds", digits=0), "outcome", "folder"], rows)


def _place(found: Summary, one: Result) -> str:
    inside = found.folder is not None and one.folder.is_relative_to(found.folder)
    return one.folder.relative_to(found.folder).as_posix() if inside and found.folder else str(one.folder)


def _remarks(found: Summary) -> Iterator[Section]:
    for title, texts in remarks(found).items():
        if title != "Verdict":
            yield Text(title, texts)
    if found.about:
        yield Facts("What was trained", found.about)
