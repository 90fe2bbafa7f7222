"""The tables of docs/speed.md from the rows in benchmarks/results: `python benchmarks/speed.py` writes them anew.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. Of several runs that measured the same model, type,
batch and pass on the same hardware the newest one counts that measured all the models of those before it.
"""

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "speed.md"
NAME = re.compile(r"backbones_(?P<hardware>[a-z0-9-]+)_(?P<time>\d{8}-\d{6})")
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
RUNTIMES = {"plain": "plain operators", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """The rows of one run for one model, type, batch and pass.

    Attributes:
        hardware: as in the names of the files.
        key: backbone, type, batch, pass.
        day: when it ran, as in the names of the files.
        rows: (model, compile, channels last) -> row.
        versions: of the packages; empty where only the CSV file was kept.
    """

    hardware: str
    key: tuple[str, str, int, str]
    day: str
    rows: dict[tuple[str, str, bool], Row]
    versions: dict[str, str]


def number(text: str) -> float | None:
    return float(text) if text not in ("", None) else None


def groups(results: Path = RESULTS) -> list[Group]:
    """The newest of each hardware and key, sorted."""
    found: dict[Any, Group] = {}
    for path in sorted(results.glob("backbones_*.csv"), key=lambda path: path.stem[-15:]):
        name = NAME.fullmatch(path.stem)
        hardware, day = name["hardware"], "-".join((name["time"][:4], name["time"][4:6], name["time"][6:8]))
        document = path.with_suffix(".json")
        versions = json.loads(document.read_text())["versions"] if document.exists() else {}
        mine: dict[Any, Group] = {}
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                key = row["backbone"], row["dtype"], int(row["batch"]), row["pass"]
                group = mine.setdefault(key, Group(hardware, key, day, {}, versions))
                form = row["model"], row.get("compile") or "", row.get("channels_last") == "True"
                group.rows[form] = row
        for key, group in mine.items():
            earlier = found.get((hardware, key))
            if earlier is None or group.rows.keys() >= earlier.rows.keys():
                found[hardware, key] = group
    return [found[place] for place in sorted(found)]


def rate(group: Group, model: str, compile: str = "") -> str:
    """Images per second on the wall, and in brackets those of the device where they are another measurement."""
    row = group.rows.get((model, compile, False))
    if row is None or number(row["images_per_second"]) is None:
        return ""
    wall = f"{float(row['images_per_second']):,.{1 if float(row['images_per_second']) < 100 else 0}f}"
    device = number(row.get("device_images_per_second", ""))
    return f"{wall} ({device:,.0f})" if device and row["device_how"] != "wall" else wall


def memory(group: Group, model: str) -> str:
    row = group.rows.get((model, "", False))
    return f"{float(row['peak_bytes']) / 1e9:.2f}" if row and row["peak_bytes"] else ""


def gpu(found: list[Group]) -> list[list[str]]:
    lines = [
        ["model", "pass", "batch, type", "visionattn", "timm", "visionattn compiled", "timm compiled", "GB", "GPU"]
    ]
    for group in (group for group in found if "nvidia" in group.hardware):
        name, dtype, batch, work = group.key
        cells = [name, work, f"{batch}, {dtype}", rate(group, "visionattn"), rate(group, "timm")]
        cells += [rate(group, "visionattn", "default"), rate(group, "timm", "default")]
        peaks = [memory(group, model) for model in ("visionattn", "timm")]
        lines.append(
            [*cells, ", ".join(peak for peak in peaks if peak), group.hardware.removeprefix("nvidia-").upper()]
        )
    return lines


def cpu(found: list[Group], work: str) -> list[list[str]]:
    runtimes = RUNTIMES if work == "inference" else {}
    lines = [["model", "type", "batch", "visionattn", "timm", *runtimes.values(), "visionattn / timm", "measured"]]
    for group in (group for group in found if "nvidia" not in group.hardware and group.key[3] == work):
        name, dtype, batch, _ = group.key
        cells = [name, dtype, str(batch), *(rate(group, model) for model in ("visionattn", "timm", *runtimes))]
        ours = group.rows.get(("visionattn", "", False))
        ratio = number(ours["times_timm"]) if ours else None
        lines.append([*cells, f"{ratio:.2f}" if ratio else "", group.day])
    return lines


TABLES: dict[str, Callable[[list[Group]], list[list[str]]]] = {
    "gpu": gpu,
    "cpu_inference": lambda found: cpu(found, "inference"),
    "cpu_training": lambda found: cpu(found, "train"),
}


def markdown(lines: list[list[str]]) -> str:
    lines = [lines[0], [":--" if column < 3 else "--:" for column in range(len(lines[0]))], *lines[1:]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def render(page: str, results: Path = RESULTS) -> str:
    """The page with its tables written anew."""
    found = groups(results)
    return TABLE.sub(lambda match: match[1] + "\n" + markdown(TABLES[match[2]](found)) + "\n" + match[3], page)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
