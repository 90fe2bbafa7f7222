"""Rows of a benchmark: hardware and versions beside them, as a table on the screen and as JSON and CSV on disk."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from visionattn.runs.provenance import cpu_name

Row = dict[str, Any]
PACKAGES = ("visionattn", "torch", "triton", "timm", "natten", "xformers", "transformers")


def hardware(device: torch.device) -> dict[str, Any]:
    """What the rows were measured on."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "processors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
        }
    return {"name": cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Versions of Python, CUDA and the packages that take part; "" where one is not installed."""
    found = {"python": platform.python_version(), "cuda": torch.version.cuda or ""}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def write(rows: list[Row], folder: Path, name: str, device: torch.device, configuration: dict[str, Any]) -> list[Path]:
    """Writes <name>_<device>_<time>.json with everything and .csv with the rows; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    place = hardware(device)
    label = re.sub(r"[^A-Za-z0-9]+", "-", place["name"]).strip("-").lower()
    moment = datetime.now(UTC)
    stem = folder / f"{name}_{label}_{moment:%Y%m%d-%H%M%S}"
    document = {
        "time": moment.isoformat(timespec="seconds"),
        "hardware": place,
        "versions": versions(),
        "configuration": configuration,
        "rows": rows,
    }
    paths = [stem.with_suffix(".json"), stem.with_suffix(".csv")]
    paths[0].write_text(json.dumps(document, indent=1) + "\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return paths


def show(rows: list[Row], title: str, console: Console) -> None:
    """A table per case, one line per measured row; methods that refused are left to the files."""
    console.print(title)
    for case in dict.fromkeys(row["case"] for row in rows):
        table = Table(title=case, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("method", no_wrap=True)
        for heading in ("pass", "ms", "x auto", "peak MB", "GFLOP/s", "of GEMM"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            if row["case"] == case and not row["reason"]:
                table.add_row(*_cells(row))
        console.print(table)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["method"],
        "fwd" if row["direction"] == "forward" else "fwd+bwd",
        f"{row['median_ms']:.3f}",
        f"{row['times_auto']:.2f}" if row["times_auto"] else "-",
        f"{row['peak_bytes'] / 1e6:.1f}",
        f"{row['flops'] / row['median_ms'] / 1e6:.1f}",
        f"{row['share_of_gemm']:.1%}",
    )
