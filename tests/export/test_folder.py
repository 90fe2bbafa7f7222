"""An export is complete, or not there: after an error, after Ctrl-C, and beside an earlier one."""

import json

import pytest
import timm
import torch
from omegaconf import OmegaConf

from tests.commands.hostile import contents
from visionattn.backbones import zoo
from visionattn.cli import main
from visionattn.errors import CheckpointError, ConfigError
from visionattn.export.folder import check_target
from visionattn.export.graph_modules import graph_of
from visionattn.export.graphs import preprocessing
from visionattn.export.model import ExportedModel
from visionattn.files import whole_folder
from visionattn.runs.open import open_run


def half_way(folder, failure):
    with whole_folder(folder) as temporary:
        (temporary / "model.onnx").write_text("half")
        assert (folder / "model.onnx").read_text() == "of yesterday"
        raise failure


pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("failure", [CheckpointError("differs"), KeyboardInterrupt(), OSError("disk full")])
def test_nothing_is_left_after_a_failure(failure, tmp_path):
    old = tmp_path / "out"
    old.mkdir()
    (old / "model.onnx").write_text("of yesterday")
    with pytest.raises(type(failure)):
        half_way(old, failure)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.onnx"]
    assert (old / "model.onnx").read_text() == "of yesterday"
    with whole_folder(old) as folder:
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
                *("data.train_transform.short_edges=[64]", "data.train_transform.long_edge=1333"),
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


def test_a_model_of_more_channels_is_rebuilt_by_timm(tmp_path):
    channels = ["data=image_folder", "data.root=/nowhere", "data.in_chans=5", "backbone.in_chans=5"]
    words = ["data.num_classes=4", "data.image_size=32", "backbone.drop_path_rate=0", "backbone.depths=[1,1,1]"]
    torch.save(contents(*channels, *words), tmp_path / "five.ckpt")
    task = open_run(tmp_path / "five.ckpt").task.eval()
    images = torch.randn(2, 5, 32, 32)
    for names in ("timm", "visionattn"):
        target = [f"ckpt={tmp_path}/five.ckpt", f"dir={tmp_path}/{names}", f"options.names={names}"]
        assert main(["export", *target]) == 0
        model = timm.create_model(f"local-dir:{tmp_path}/{names}", pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(images), task(images), rtol=1e-5, atol=1e-5)
        assert model.pretrained_cfg["input_size"] == (5, 32, 32)
        assert len(model.pretrained_cfg["mean"]) == 5


def test_a_mixer_of_the_users_own_is_exported_and_rebuilt(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_mixers.py").write_text(
        "from visionattn.attention import WindowAttention\n\n\nclass Mine(WindowAttention):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = contents("data=digits", "backbone.depths=[1,1,1]", "backbone.drop_path_rate=0")
    cfg = OmegaConf.create(made["config"])
    for key in ("backbone", "task.backbone"):
        OmegaConf.update(cfg, f"{key}.mixers.s1._target_", "own_mixers.Mine")
    made["config"] = OmegaConf.to_yaml(cfg)
    torch.save(made, tmp_path / "own.ckpt")
    words = ["export", f"ckpt={tmp_path}/own.ckpt", f"dir={tmp_path}/out", "options.score=false"]
    assert main(words) == 2
    assert "own_mixers.Mine" in capsys.readouterr().err
    assert main([*words, "allow=[own_mixers]"]) == 0
    assert "zoo.allowed('own_mixers')" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="own_mixers"):
        timm.create_model(f"local-dir:{tmp_path}/out", pretrained=True)
    with zoo.allowed("own_mixers"):
        model = timm.create_model(f"local-dir:{tmp_path}/out", pretrained=True)
    assert type(model.stages[0].blocks[0].mixer).__name__ == "Mine"
    with pytest.raises(ConfigError, match="only your own packages"), zoo.allowed("os"):
        pass
