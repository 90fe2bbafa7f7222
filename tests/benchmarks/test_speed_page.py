"""docs/speed.md holds what the committed rows say; `python benchmarks/speed.py` writes its tables."""

import csv
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEED = runpy.run_path(str(ROOT / "benchmarks" / "speed.py"))
FORM = {"backbone": "swin_tiny", "dtype": "bfloat16", "batch": 64, "pass": "train", "peak_bytes": 5e8}
OLD = [FORM | {"model": "visionattn", "images_per_second": 1000.0}]
NEW = [
    FORM | {"model": model, "compile": mode, "channels_last": False, "images_per_second": rate, "device_how": how}
    | {"device_images_per_second": 2 * rate, "times_timm": 1.5}
    for model, mode, rate, how in [
        ("visionattn", "", 1500.0, "CUDA graph"), ("timm", "", 1000.0, "CUDA graph"), ("timm", "default", 12.34, "wall")
    ]
]  # fmt: skip


def write(folder, name, rows):
    with (folder / f"backbones_{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_page_is_what_the_rows_say():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert SPEED["render"](page) == page, "python benchmarks/speed.py writes it"


def test_the_newest_run_counts(tmp_path):
    write(tmp_path, "nvidia-h100_20260102-000000", OLD)
    write(tmp_path, "nvidia-h200_20260101-000000", OLD)
    write(tmp_path, "nvidia-h200_20260102-000000", NEW)
    found = SPEED["groups"](tmp_path)
    lines = SPEED["gpu"](found)
    assert [line[3:] for line in lines[1:]] == [
        ["1,000", "", "", "", "0.50", "H100"],
        ["1,500 (3,000)", "1,000 (2,000)", "", "12.3", "0.50, 0.50", "H200"],
    ]
    assert SPEED["cpu"](found, "train") == [lines_head()]


def lines_head():
    return ["model", "type", "batch", "visionattn", "timm", "visionattn / timm", "measured"]
