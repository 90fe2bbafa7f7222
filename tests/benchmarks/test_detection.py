"""The detection benchmark: both sides run, agree, and their rows are written."""

import json

import pytest

from visionattn.benchmarks.detection import generated_results, run_detection
from visionattn.errors import ConfigError


def test_rows_of_the_evaluation_are_written(tmp_path):
    rows = run_detection(passes=["evaluation"], images=12, per_image=6, output_dir=tmp_path)
    assert [row["method"] for row in rows] == ["visionattn", "pycocotools"]
    assert rows[1]["times_other"] == 1.0
    written = json.loads(next(tmp_path.glob("detection_*.json")).read_text())
    assert written["configuration"]["images"] == 12


@pytest.mark.heavy
def test_both_models_run_with_the_same_weights():
    rows = run_detection(passes=["inference"], batch=1, size=(64, 96), repeats=1, device="cpu", output_dir=None)
    assert {row["method"] for row in rows} == {"visionattn", "torchvision"}
    assert all(row["seconds"] > 0 for row in rows)


def test_an_unknown_pass_is_refused():
    with pytest.raises(ConfigError, match="passes are some of"):
        run_detection(passes=["sleep"])


def test_the_generated_set_has_crowds_and_empty_images():
    truth, results = generated_results(60, 8)
    assert any(a["iscrowd"] for a in truth["annotations"])
    assert len({a["image_id"] for a in truth["annotations"]}) < 60
    assert results
