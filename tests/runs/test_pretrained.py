"""`visionattn train weights=...`: the backbone starts from published weights, the head does not."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.commands.short_runs import TINY
from visionattn import config
from visionattn.cli import main
from visionattn.errors import CheckpointError
from visionattn.runs.pretrained import load_pretrained

SMALL = ["backbone=swin_tiny", "backbone.depths=[1,1,1,1]", "backbone.drop_path_rate=0.1", "data.num_classes=1000"]
SMALL += ["data.root=x", "run_dir=x", "name=x", "backbone_name=x"]


@pytest.fixture
def task():
    return config.instantiate(config.compose("train", ["data=image_folder", *SMALL]).task)


@pytest.fixture
def published(tmp_path):
    model = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=21841)
    save_file(model.state_dict(), tmp_path / "22k.safetensors")
    return tmp_path / "22k.safetensors", model.state_dict()


def test_a_file_of_another_number_of_classes(task, published):
    path, state = published
    head = task.head.classifier.fc.weight.clone()
    load_pretrained(task, str(path))
    assert torch.equal(task.backbone.stem.conv1.weight, state["patch_embed.proj.weight"])
    assert torch.equal(task.backbone.norm.weight, state["norm.weight"])
    assert torch.equal(task.head.classifier.fc.weight, head)


def test_another_of_timms_models(task, published, monkeypatch):
    asked = []

    def weights(card, num_classes, in_chans):
        asked.append((card["weights"]["timm"], num_classes, in_chans))
        return published[1]

    monkeypatch.setattr("visionattn.weights.sources.timm_weights", weights)
    load_pretrained(task, "timm:swin_tiny_patch4_window7_224.ms_in22k")
    load_pretrained(task, "timm")
    assert asked == [("swin_tiny_patch4_window7_224.ms_in22k", 0, 3), ("swin_tiny_patch4_window7_224.ms_in1k", 0, 3)]


def test_what_does_not_fit_is_listed(published):
    other = config.instantiate(config.compose("train", ["data=image_folder", *SMALL, "backbone.depths=[1,2,1,1]"]).task)
    with pytest.raises(CheckpointError, match=r"missing: stages\.1\.blocks\.1"):
        load_pretrained(other, str(published[0]))


def test_the_command_says_it_before_training(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "backbone=swin_pico", "weights=/nowhere.pth", *TINY]) == 1
    assert "there is no checkpoint at /nowhere.pth" in capsys.readouterr().err
