"""The page of a training or an evaluation: what is known of it, as sections of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from visionattn.config.messages import flat_keys, plain
from visionattn.drawing.plots import read_metrics
from visionattn.reports import Column, Curves, Panels, Section, Table
from visionattn.runs import provenance
from visionattn.runs.memory import peak_memory

Series = Mapping[str, Sequence[tuple[int, float]]]
"""Name -> (step, value) of everything that is logged; see :func:`visionattn.drawing.plots.read_metrics`."""
Points = tuple[np.ndarray, np.ndarray]
"""Steps and values."""
_DRAWN = 6
"""Curves in one chart that a reader can still tell apart."""


def logged(run_dir: Path) -> Series:
    """What a run has logged so far; nothing where it logs to no ``metrics.csv``."""
    file = run_dir / "metrics.csv"
    return read_metrics(file) if file.is_file() else {}


def curves(series: Series, shown: Sequence[str]) -> list[Section]:
    """Charts of what is logged: losses, figures of validation, learning rates.

    Args:
        series: see :func:`logged`.
        shown: names of the figures of validation that are drawn; the others stand in :func:`figures_table`.
    """
    parts = {name.removeprefix("train/loss_"): name for name in series if name.startswith("train/loss_")}
    rates = {name.removeprefix("lr-"): name for name in series if name.startswith("lr-")}
    charts = {
        "Loss": _chosen(series, {"training": "train/loss", "validation": "val/loss"}),
        "Parts of the training loss": _first(_chosen(series, parts)) if len(parts) > 1 else {},
        "Validation": _chosen(series, {name.removeprefix("val/"): name for name in shown}),
        "Learning rate": _first(_different(_chosen(series, rates))),
    }
    units = {"Validation": "%", "Learning rate": ""}
    drawn = [Curves(title, lines, "step", units.get(title, "loss")) for title, lines in charts.items() if lines]
    return [Panels("Curves", drawn)] if drawn else []


def _chosen(series: Series, names: Mapping[str, str]) -> dict[str, Points]:
    """Some series as arrays, under other names."""
    points = {word: np.array(series[name], np.float64) for word, name in names.items() if series.get(name)}
    return {word: (one[:, 0], one[:, 1]) for word, one in points.items()}


def _first(chosen: Mapping[str, Points]) -> dict[str, Points]:
    return dict(list(chosen.items())[:_DRAWN])


def _different(chosen: Mapping[str, Points]) -> dict[str, Points]:
    """The curves of which no earlier one is the same: of rates, those of parameters with one of their own."""
    kept: dict[str, Points] = {}
    for word, (steps, values) in chosen.items():
        if not any(np.array_equal(values, others) for _, others in kept.values()):
            kept[word] = (steps, values)
    return kept


def figures_table(series: Series) -> list[Section]:
    """Every figure of validation: the latest, the highest and the lowest value."""
    rows = []
    for name, points in series.items():
        if name.startswith("val/"):
            values = np.array(points, np.float64)[:, 1]
            finite = values[np.isfinite(values)]
            extremes = [float(finite.max()), float(finite.min())] if len(finite) else [None, None]
            rows.append([name.removeprefix("val/"), float(values[-1]), *extremes])
    columns = [Column("figure"), *(Column(name, digits=3) for name in ("latest", "highest", "lowest"))]
    return [Table("Figures of validation", columns, sorted(rows))] if len(rows) > 2 else []


def flat(cfg: DictConfig) -> dict[str, Any]:
    """Every value of a configuration by its dotted key."""
    tree = plain(cfg)
    nodes = {key: _node(tree, key) for key in flat_keys(tree)}
    return {key: node for key, node in nodes.items() if not isinstance(node, Mapping)}


def _node(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = {str(name): value for name, value in tree.items()}[part]  # numbers name classes in ``{0: cat}``
    return tree


def environment(seed: int) -> dict[str, Any]:
    """Code, hardware and versions."""
    packages = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    about = {"commit": provenance.commit(), "hardware": provenance.hardware(), "seed": seed}
    return {**about, "versions": packages}


def memory_facts(device: torch.device) -> dict[str, str]:
    """The most memory that was taken, in words; nothing where the system does not tell."""
    size, of = peak_memory(device)
    return {f"peak memory of {of}": f"{size:.2f} GiB"} if np.isfinite(size) else {}


def short_count(number: float) -> str:
    """A count in three digits: ``27.5 M``."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            share = number / size
            return f"{share:.{2 if share < 10 else 1 if share < 100 else 0}f} {letter}"
    return f"{number:g}"
