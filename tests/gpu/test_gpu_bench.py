"""The kernel benchmark on a device: one small case with every method that runs there."""

import io

from rich.console import Console

from visionattn.benchmarks.kernels import run_kernels


def test_rows_of_a_swin_stage(cuda, tmp_path):
    methods = ["auto", "tiled", "timm*", "partition*", "sdpa ceiling"]
    screen = Console(file=io.StringIO(), width=120)
    rows = run_kernels("swin_tiny.s4", methods, repeats=2, device="cuda", output_dir=tmp_path, batch=4, console=screen)
    measured = {row["method"] for row in rows if not row["reason"]}
    assert measured == {"auto (triton)", "tiled", "timm", "timm fused", "partition", "partition sdpa", "sdpa ceiling"}
    assert all(row["median_ms"] > 0 for row in rows if not row["reason"])
    assert len(list(tmp_path.iterdir())) == 2
