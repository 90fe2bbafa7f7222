"""An export is complete, or not there: after an error, after Ctrl-C, and beside an earlier one."""

import json

import pytest
import torch

from tests.commands.hostile import contents
from visionattn.errors import CheckpointError, ConfigError
from visionattn.export.folder import check_target, complete_or_nothing
from visionattn.export.graph_modules import graph_of
from visionattn.export.graphs import preprocessing
from visionattn.export.model import ExportedModel
from visionattn.runs.open import open_run


def half_way(folder, failure):
    with complete_or_nothing(folder) as temporary:
        (temporary / "model.onnx").write_text("half")
        assert (folder / "model.onnx").read_text() == "of yesterday"
        raise failure


@pytest.mark.parametrize("failure", [CheckpointError("differs"), KeyboardInterrupt(), OSError("disk full")])
def test_nothing_is_left_after_a_failure(failure, tmp_path):
    old = tmp_path / "out"
    old.mkdir()
    (old / "model.onnx").write_text("of yesterday")
    with pytest.raises(type(failure)):
        half_way(old, failure)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.onnx"]
    assert (old / "model.onnx").read_text() == "of yesterday"
    with complete_or_nothing(old) as folder:
        (folder / "model.onnx").write_text("whole")
    assert (old / "model.onnx").read_text() == "whole"
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.onnx"]


def test_what_is_there_is_not_replaced_unasked(tmp_path):
    check_target(tmp_path / "new", overwrite=False)
    check_target(tmp_path, overwrite=False)  # empty
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="overwrite=true"):
        check_target(tmp_path, overwrite=False)
    check_target(tmp_path, overwrite=True)
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"files that no export wrote \(other\.txt\)"):
        check_target(tmp_path, overwrite=True)
    with pytest.raises(ConfigError, match="is a file"):
        check_target(tmp_path / "other.txt", overwrite=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [
                *("task=detection", "data=coco", "head=retinanet", "data.divisor=64"),
                *("data.eval_transform.short_edge=96", "data.eval_transform.long_edge=1333"),
            ],
            {"short_edge": 96, "long_edge": 1333, "divisor": 64, "interpolation": "bilinear, antialiased"},
        ),
        (
            [
                *("task=segmentation", "data=image_mask", "head=semantic_fpn", "task.inference.mode=slide"),
                *("task.inference.stride=20", "task.inference.short_edge=56"),
            ],
            {"mode": "slide", "crop": [48, 48], "stride": [20, 20], "short_edge": 56},
        ),
    ],
)
def test_a_graph_of_a_dense_task_tells_the_whole_protocol(words, expected, tmp_path):
    size = [
        "data.image_size=48",
        *(["task.inference.stride=20", "task.inference.short_edge=56"] if "slide" in words[-1] else []),
    ]
    made = contents(*words, *size, "data.root=/nowhere", "data.num_classes=2", "backbone=swin_pico")
    torch.save(made, tmp_path / "x.ckpt")
    opened = open_run(tmp_path / "x.ckpt")
    model = ExportedModel(opened, opened.config)
    about = preprocessing(model, graph_of(model.task, "model"))
    assert about["mean"] == list(opened.config.data.mean)
    assert json.loads(json.dumps(about["protocol"])).items() >= expected.items()
    assert about["stride"] == 16
