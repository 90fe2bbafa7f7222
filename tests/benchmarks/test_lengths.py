"""The efficiency length: rows of every mixer, where two curves cross, and requests that say nothing."""

import json
import math

import pytest

from visionattn.benchmarks.lengths import efficiency_lengths, run_lengths
from visionattn.errors import ConfigError


def test_rows_of_mixers_beside_full_attention(tmp_path, capsys):
    rows = run_lengths(["window", "convolution"], [4, 8], dim=8, repeats=1, device="cpu", output_dir=tmp_path)
    assert [(row["mixer"], row["side"], row["pass"]) for row in rows] == [
        (mixer, side, kind)
        for side in (4, 8)
        for kind in ("inference", "train")
        for mixer in ("full", "window", "convolution")
    ]
    assert all(row["milliseconds"] > 0 and row["peak_bytes"] > 0 and not row["reason"] for row in rows)
    assert all(row["times_full"] == 1 for row in rows if row["mixer"] == "full")
    document = json.loads(next(tmp_path.glob("lengths_*.json")).read_text())
    assert document["rows"] == rows
    assert set(document["configuration"]["lengths"]["train"]) == {"window", "convolution"}
    assert (tmp_path / "lengths.png").stat().st_size > 10_000
    assert "faster and smaller than full from side" in " ".join(capsys.readouterr().out.split())


def test_timms_layer_of_convit_stands_beside_ours():
    rows = run_lengths(["gated_positional", "timm:gpsa"], [3, 5], dim=8, repeats=1, device="cpu", output_dir=None)
    assert {row["mixer"] for row in rows} == {"full", "gated_positional", "timm:gpsa"}
    assert all(row["milliseconds"] > 0 and not row["reason"] for row in rows)


def rows_of(mixers):
    return [
        {"mixer": mixer, "side": side, "pass": "train", "milliseconds": value, "peak_bytes": 10, "reason": ""}
        for mixer, values in mixers.items()
        for side, value in zip((8, 16, 32), values, strict=True)
    ]


def test_lengths_are_interpolated_on_logarithmic_axes():
    """Full attention grows with the fourth power of the side, a local one with its square."""
    mixers = {
        "full": (1, 16, 256),
        "local": (8, 32, 128),  # its curve crosses that of full attention between 16 and 32, at 16 * sqrt(2)
        "cheap": (0.5, 2, 8),
        "costly": (2, 32, 512),
        "unsteady": (0.5, 32, 128),  # it counts from where on it stays below
    }
    found = {name: one["time"] for name, one in efficiency_lengths(rows_of(mixers), "train").items()}
    assert found["local"] == pytest.approx(16 * math.sqrt(2))
    assert found["unsteady"] == pytest.approx(16 * math.sqrt(2))
    assert (found["cheap"], found["costly"]) == (0, math.inf)
    assert efficiency_lengths(rows_of(mixers), "train")["local"]["memory"] == math.inf  # the same bytes are not fewer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixers": ["windows"]}, "mixers=windows is not known"),
        ({"sides": [14]}, "that grow"),
        ({"sides": [28, 14]}, "that grow"),
        ({"passes": ["backward"]}, "passes are inference and train"),
    ],
)
def test_requests_that_cannot_be_measured(options, message):
    with pytest.raises(ConfigError, match=message):
        run_lengths(**options, output_dir=None)
