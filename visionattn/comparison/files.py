"""The files of a comparison: ``comparison.csv``, ``.md``, ``.tex`` and ``.json``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionattn.comparison.statistics import Estimate
from visionattn.comparison.summary import Cost, Row, Summary
from visionattn.comparison.table import costs, reached, remarks
from visionattn.comparison.verdict import sentences
from visionattn.files import write_whole

METHOD = (
    "Means over seeds. Intervals after ± are Student's t intervals at 95 %; bootstrap intervals are percentile "
    "intervals of the mean at 95 %. Differences are paired by seed. p is of a two-sided t test of the paired "
    "differences, adjusted for all pairs by Holm's procedure; a verdict needs p < 0.05."
)
_COSTS = ("training_images_per_second", "inference_images_per_second", "peak_memory_bytes", "joules_per_training_image")
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": "$<$"}
_TEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def write(found: Summary, folder: Path) -> list[Path]:
    """Write all files of the table into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "comparison.csv": as_csv(found),
        "comparison.md": as_markdown(found),
        "comparison.tex": as_latex(found),
        "comparison.json": json.dumps(as_dict(found), indent=1) + "\n",
    }
    return [write_whole(folder / name, text) for name, text in contents.items()]


def as_csv(found: Summary) -> str:
    """A row for each entry, every figure in full."""
    reference, metrics = found.rows[0].name, metric_names(found)
    titles = ["entry", "seeds", "failed", "changed", "deviation", "parameters", "shared parameters", "gmacs"]
    titles += ["training images/s", "inference images/s", "peak memory bytes", "joules per training image"]
    for name in metrics:
        titles += [f"{name} {part}" for part in ("mean", "low", "high", "bootstrap low", "bootstrap high", "deviation")]
    titles += [
        f"{found.metric} minus {reference} {part}"
        for part in ("mean", "low", "high", "bootstrap low", "bootstrap high", "p (Holm)")
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(titles)
    for row in found.rows:
        writer.writerow(_csv_row(found, row, metrics))
    return text.getvalue()


def _csv_row(found: Summary, row: Row, metrics: Sequence[str]) -> list[Any]:
    facts, cost, versus = row.facts, row.facts.cost, found.versus(row)
    cells: list[Any] = [row.name, len(row.values), len(row.failed), facts.changed, facts.deviation]
    cells += [facts.params, facts.shared, facts.gmacs]
    cells += [cost.training, cost.inference, cost.memory, cost.energy] if cost else [None] * 4
    for name in metrics:
        one = row.metrics.get(name)
        cells += [*_ends(one), one.deviation if one else None]
    return [*cells, *(_ends(versus[0]) if versus else [None] * 5), versus[1].p if versus else None]


def _ends(one: Estimate | None) -> list[float | None]:
    if one is None:
        return [None] * 5
    return [one.mean, *(one.interval or (None, None)), *(one.bootstrap or (None, None))]


def metric_names(found: Summary) -> list[str]:
    """All metrics, the compared one first."""
    names = sorted({name for row in found.rows for name in row.metrics})
    return sorted(names, key=lambda name: name != found.metric)


def as_markdown(found: Summary) -> str:
    """Both parts of the table, with the verdict."""
    parts = [f"# Comparison of {found.metric}", ""]
    parts += ["```", found.command, "```", ""] if found.command else []
    for titles, rows in (reached(found), costs(found)):
        table = [titles, ["---"] * len(titles), *rows]
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
        parts.append("")
    for title, texts in remarks(found).items():
        parts += [f"**{title}**", "", *(f"- {text}" for text in texts), ""]
    return "\n".join([*parts, METHOD, ""])


def as_latex(found: Summary) -> str:
    """A table for a paper, in LaTeX alone; with ``booktabs`` its rules become that package's."""
    head, tail = reached(found), costs(found)
    titles = [*head[0], *tail[0][1:]]
    rows = [[*one, *other[1:]] for one, other in zip(head[1], tail[1], strict=True)]
    columns = "l" + "r" * (len(titles) - 1)
    lines = [
        r"\providecommand{\toprule}{\hline}\providecommand{\midrule}{\hline}\providecommand{\bottomrule}{\hline}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _tex_row(titles),
        r"\midrule",
        *map(_tex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([*(f"% {text}" for text in (METHOD, *sentences(found))), *lines, ""])


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """A text with LaTeX's own letters escaped."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def as_dict(found: Summary) -> dict[str, Any]:
    """Everything, for other programs."""
    return {
        "metric": found.metric,
        "mode": found.mode,
        "reference": found.rows[0].name,
        "seeds": list(found.seeds),
        "command": found.command,
        "about": dict(found.about),
        "method": METHOD,
        "entries": [_entry(found, row) for row in found.rows],
        "pairs": [
            {
                "better": pair.first,
                "worse": pair.second,
                "difference": _estimate(pair.difference),
                "p_holm": pair.p,
                "told_apart": pair.told_apart,
            }
            for pair in found.pairs
        ],
        "verdict": sentences(found),
        "notes": list(found.notes),
        "runs": [
            {
                "entry": one.entry,
                "seed": one.seed,
                "folder": _place(one.folder, found.folder),
                "error": one.error,
                "metrics": one.metrics,
                "seconds": one.seconds,
            }
            for one in found.results
        ],
    }


def _entry(found: Summary, row: Row) -> dict[str, Any]:
    facts, cost = row.facts, row.facts.cost
    return {
        "name": row.name,
        "params": facts.params,
        "gmacs": facts.gmacs,
        "shared_params": facts.shared,
        "changed": facts.changed,
        "deviation": facts.deviation,
        **dict(
            zip(_COSTS, (cost.training, cost.inference, cost.memory, cost.energy) if cost else [None] * 4, strict=True)
        ),
        "values": {str(seed): value for seed, value in row.values.items()},
        "metrics": {name: _estimate(row.metrics[name]) for name in metric_names(found) if name in row.metrics},
    }


def costs_in(folder: Path | None) -> dict[str, Cost]:
    """What the entries of a comparison cost when it was measured; empty where it was not."""
    try:
        contents = json.loads(((folder or Path()) / "comparison.json").read_text(encoding="utf-8"))
        costs = {one["name"]: Cost(*(one[key] for key in _COSTS)) for one in contents["entries"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: cost for name, cost in costs.items() if cost.training is not None}


def _estimate(one: Estimate) -> dict[str, Any]:
    return {
        "count": one.count,
        "mean": one.mean,
        "deviation": one.deviation,
        "interval": one.interval,
        "bootstrap": one.bootstrap,
        "p": one.p,
    }


def _place(path: Path, folder: Path | None) -> str:
    return path.relative_to(folder).as_posix() if folder and path.is_relative_to(folder) else str(path)
