"""``visionattn benchmark scan``: rows of every method, and that all of them compute the same."""

import json

import pytest
import torch

from visionattn.benchmarks.scan import _drawn, run_scan, token_by_token
from visionattn.errors import ConfigError
from visionattn.kernels import selective_scan


def test_rows_of_every_method(tmp_path) -> None:
    rows = run_scan([2, 4], dim=8, batch=1, repeats=1, device="cpu", output_dir=tmp_path)
    assert [row["method"] for row in rows] == ["auto", "reference", "loop"] * 4
    assert {row["pass"] for row in rows} == {"inference", "train"}
    assert all(row["milliseconds"] > 0 for row in rows)
    document = json.loads(next(tmp_path.glob("scan_*.json")).read_text())
    assert document["configuration"]["dim"] == 8


def test_the_loop_computes_the_scan() -> None:
    given = [t.double() for t in _drawn(2, 3, 5, 2)]
    torch.testing.assert_close(token_by_token(*given), selective_scan(*given, backend="reference"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"passes": ["test"]}, "inference and train"), ({"dtype": "int8"}, "got int8"), ({"sides": []}, "at least 1")],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        run_scan(**options, output_dir=None)
