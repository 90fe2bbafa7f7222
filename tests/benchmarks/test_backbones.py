"""The comparison of whole backbones: small, but the real thing."""

import json

import pytest

from visionattn.benchmarks import backbones
from visionattn.errors import ConfigError


def test_rows_of_a_backbone_without_a_counterpart(tmp_path):
    rows = backbones.run_backbones("swin_pico", batches=[2], repeats=2, device="cpu", output_dir=tmp_path)
    assert [(row["pass"], row["dtype"]) for row in rows] == [
        ("inference", "float32"),
        ("train", "float32"),
        ("inference", "bfloat16"),
        ("train", "bfloat16"),
    ]
    assert all(row["images_per_second"] > 0 and row["times_timm"] is None for row in rows)
    (path,) = tmp_path.glob("backbones_*.json")
    assert json.loads(path.read_text())["rows"] == rows


def test_the_counterpart_has_the_same_weights():
    models = backbones.with_counterpart("swin_tiny", 224)
    assert set(models) == {"visionattn", "timm"}


@pytest.mark.parametrize("wrong", [{"names": "nobody"}, {"passes": ["sleep"]}, {"dtypes": ["int8"]}])
def test_nothing_to_measure_is_an_error(wrong):
    with pytest.raises(ConfigError, match="nothing to measure"):
        backbones.run_backbones(**({"names": "swin_pico", "output_dir": None} | wrong))
