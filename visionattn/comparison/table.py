"""The table of a comparison on the terminal, in 80 columns: what was reached, and what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from visionattn.comparison.statistics import Estimate
from visionattn.comparison.summary import Row, Summary
from visionattn.comparison.verdict import digits_of, joined, rounded, sentences
from visionattn.errors import counted

WIDTH = 80
_GAP = 2
_LONGEST = 28  # of an entry's name beside its figures; a longer one has a line of its own


def lines(found: Summary) -> Iterator[str]:
    """The lines of the table, the verdict below it."""
    yield _heading(found)
    yield ""
    yield from _grid(*reached(found))
    yield ""
    yield from _grid(*costs(found))
    for title, texts in remarks(found).items():
        yield from _block(f"{title}:", texts)


def remarks(found: Summary) -> dict[str, list[str]]:
    """What stands below the table: title -> sentences."""
    matched = [row for row in found.rows if row.facts.changed]
    blocks = {
        "Matched": [f"{row.name}: {row.facts.changed} ({deviation(row.facts.deviation)})" for row in matched],
        "Missing": [text for row in found.rows for text in _failures(row)],
        "Verdict": sentences(found),
        "Notes": list(found.notes),
    }
    return {title: texts for title, texts in blocks.items() if texts}


def _failures(row: Row) -> Iterator[str]:
    """The reasons, each in its first sentence, with their seeds."""
    reasons: dict[str, list[str]] = {}
    for seed, why in row.failed.items():
        reasons.setdefault(why.partition(". ")[0].strip(), []).append(str(seed))
    for why, seeds in reasons.items():
        yield f"{row.name}, {'seed' if len(seeds) == 1 else 'seeds'} {joined(seeds)}: {why}"


def _heading(found: Summary) -> str:
    better = "higher" if found.mode == "max" else "lower"
    return f"{found.metric} over {counted(len(found.seeds), 'seed')} ({better} is better), mean ± 95 % interval"


def reached(found: Summary) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the results."""
    reference = found.rows[0]
    titles = ["entry", found.metric, f"minus {shorten(reference.name, 20)}", "p (Holm)", "seeds"]
    cells = []
    for row in found.rows:
        one, versus = row.metrics.get(found.metric), found.versus(row)
        cells.append(
            [
                row.name,
                with_interval(one),
                "" if row is reference else with_interval(versus[0], signed=True) if versus else "none",
                probability(versus[1].p) if versus else "",
                str(len(row.values)) + (f" ({len(row.failed)} missing)" if row.failed else ""),
            ]
        )
    return titles, cells


def costs(found: Summary) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of what the entries cost; what nobody knows has no column."""
    titles = ["entry", "parameters", "shared", "GMACs", "train/s", "infer/s", "MiB", "J/image"]
    rows = [[row.name, *_cost_cells(row)] for row in found.rows]
    kept = [i for i in range(len(titles)) if any(row[i] for row in rows)]
    return [titles[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _cost_cells(row: Row) -> list[str]:
    facts, cost = row.facts, row.facts.cost
    shared = f"{100 * facts.shared / facts.params:.0f} %" if facts.shared is not None and facts.params else ""
    cells = [
        "" if facts.params is None else f"{facts.params:,}",
        shared,
        rounded(facts.gmacs),
    ]
    if cost is None:
        return [*cells, "", "", "", ""]
    return [
        *cells,
        rounded(cost.training),
        rounded(cost.inference),
        "" if cost.memory is None else f"{cost.memory / 2**20:,.0f}",
        "" if cost.energy is None else f"{cost.energy:.3g}",
    ]


def with_interval(one: Estimate | None, signed: bool = False) -> str:
    """``98.14 ± 0.62``, and with ``signed`` ``+0.81 ± 0.32``."""
    if one is None:
        return "none"
    digits = 2 if one.half is None else min(max(digits_of(one.half), 2), 4)
    mean = f"{one.mean:+.{digits}f}" if signed else f"{one.mean:.{digits}f}"
    return mean if one.half is None else f"{mean} ± {one.half:.{digits}f}"


def probability(p: float | None) -> str:
    """A p value with two digits."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def deviation(value: float | None) -> str:
    """``+1.2 %``."""
    return "" if value is None else f"{100 * value:+.1f} %"


def shorten(text: str, width: int) -> str:
    """A text in at most so many characters."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns under a line; the first one to the left, and on lines of its own where a name is too long."""
    names = [row[0] for row in rows]
    rest = [max(map(len, column)) for column in zip(titles[1:], *(row[1:] for row in rows), strict=True)]
    room = WIDTH - sum(rest) - _GAP * len(rest)
    longest = max(map(len, [titles[0], *names]))
    apart = longest > room
    first = min(max(room, len(titles[0])), _LONGEST) if apart else longest
    yield _line(titles[0], titles[1:], first, rest)
    yield "-" * min(WIDTH, first + sum(rest) + _GAP * len(rest))
    for row in rows:
        if len(row[0]) > first:
            yield from textwrap.wrap(row[0], WIDTH, break_on_hyphens=False)
            yield _line("", row[1:], first, rest)
        else:
            yield _line(row[0], row[1:], first, rest)


def _line(name: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    gap = " " * _GAP
    return gap.join(
        [name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]
    ).rstrip()


def _block(title: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield ""
        yield title
        for text in texts:
            yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
