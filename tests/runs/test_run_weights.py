"""The weights of a run elsewhere: its mixers, its whole backbone and its preprocessing are known, and said."""

import json

import pytest
import torch

import visionattn
from tests.commands.short_runs import TINY
from visionattn import config
from visionattn.backbones.trained import architecture_differences
from visionattn.backbones.zoo import compose_backbone
from visionattn.cli import main
from visionattn.config.messages import plain
from visionattn.errors import CheckpointError, ConfigError
from visionattn.runs.open import open_run
from visionattn.runs.pretrained import load_pretrained, start_from
from visionattn.weights import open_source

pytestmark = pytest.mark.filterwarnings("default")
WINDOW = ("mixer@mixers.s3=swin/4",)
SAID = "stage s3: the weights were trained with window (window_size 4, shift True), the model has neighborhood"


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def logits(trained, images):
    """Of the run whose third stage has windows."""
    with torch.no_grad():
        return open_run(trained).task.eval()(images)


def test_the_backbone_of_a_run_is_built_or_refused(trained, images, logits):
    for arguments in ({"name": None}, {"name": "dinat_pico", "overrides": WINDOW}):
        model = visionattn.create_backbone(**arguments, weights=str(trained)).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(images), logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(CheckpointError) as error:
        visionattn.create_backbone("dinat_pico", weights=str(trained))
    assert SAID in str(error.value)
    assert f"create_backbone(None, weights='{trained}') builds theirs" in str(error.value)
    maps = visionattn.create_backbone(None, weights=str(trained), features_only=True)(images)
    assert [x.shape[1] for x in maps] == [48, 96, 192]
    with pytest.raises(ConfigError, match="give weights="):
        visionattn.create_backbone(None)


@pytest.mark.parametrize("format", ["timm", "safetensors"])
def test_an_export_knows_its_backbone_too(trained, images, logits, format, tmp_path):
    assert main(["export", f"ckpt={trained}", f"format={format}", f"dir={tmp_path}/out"]) == 0
    model = visionattn.create_backbone(None, weights=f"{tmp_path}/out").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(CheckpointError, match="stage s3: the weights were trained with window"):
        visionattn.create_backbone("dinat_pico", weights=f"{tmp_path}/out")
    assert open_source(f"{tmp_path}/out").class_names == [str(digit) for digit in range(10)]


def test_every_difference_that_computes_something_else_is_named():
    ours = plain(compose_backbone("dinat_pico"))
    assert architecture_differences(ours, plain(compose_backbone("dinat_pico", ["drop_path_rate=0.3"]))) == []
    other = ["mixers.s1.dilation=1", "block.mlp_ratio=3", "stem.stride=2", "mixers.s2.backend=tiled"]
    assert architecture_differences(ours, plain(compose_backbone("dinat_pico", other))) == [
        "stage s1: dilation was [1, 2] in the training, the model has 1",
        "stem.stride was 4 in the training, the model has 2",
        "block.mlp_ratio was 2.0 in the training, the model has 3",
    ]


def test_evaluate_refuses_another_backbone_and_takes_the_runs_preprocessing(trained, tmp_path, capsys):
    words = ["evaluate", "backbone=dinat_pico", f"weights={trained}", "data=digits", "trainer.accelerator=cpu"]
    assert main(words) == 1
    assert SAID in capsys.readouterr().err
    same = [*words, "mixer@backbone.mixers.s3=swin/4"]
    assert main([*same, f"hydra.run.dir={tmp_path}/weights"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "the run's own way (unlike the card: " in told
    assert "eval_transform.interpolation: bilinear instead of bicubic" in told
    assert "tensors loaded" in told
    assert main(["evaluate", f"ckpt={trained}", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path}/run"]) == 0
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("weights", "run"))
    assert one["protocol"] == other["protocol"]
    assert one["metrics"]["top1"] == other["metrics"]["top1"]
    assert one["metrics"]["confidence"] == pytest.approx(other["metrics"]["confidence"], rel=1e-4)
    assert "named as in the training" in one["class_names"]


def test_a_training_from_another_backbone_says_so_in_capitals(trained, capsys):
    composed = config.compose("train", ["run_dir=x", "name=x", "backbone_name=x"])
    task = config.instantiate(composed.task)
    task.config_text = "\n".join(["task: {}", "backbone:", *(f"  {line}" for line in _lines(composed.backbone))])
    assert load_pretrained(task, str(trained)).different == [SAID + " (kernel_size 3, dilation 1)"]
    summary = start_from(task, str(trained), "backbone", tell=True)
    assert "trained in another way: stage s3" in summary
    out = capsys.readouterr().out
    assert "THE WEIGHTS WERE TRAINED IN ANOTHER WAY" in out
    assert f"DIFFERENT: {SAID}" in out


def _lines(node):
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(node, resolve=True).splitlines()


def test_pretrained_means_the_weights_that_the_card_names(monkeypatch):
    import timm

    asked, published = [], visionattn.create_backbone("swin_tiny", overrides=("depths=[1,1,1,1]",)).state_dict()

    def weights(card, num_classes, in_chans):
        asked.append((card["weights"]["timm"], num_classes, in_chans))
        return published

    monkeypatch.setattr("visionattn.weights.sources.timm_weights", weights)
    small = {"overrides": ("depths=[1,1,1,1]",)}
    model = visionattn.create_backbone("swin_tiny", pretrained=True, **small)
    assert torch.equal(model.norm.weight, published["norm.weight"])
    again = timm.create_model("va_swin_tiny", pretrained=True, **small)
    assert torch.equal(again.head.fc.weight, published["head.fc.weight"])
    assert asked == [("swin_tiny_patch4_window7_224.ms_in1k", 1000, 3)] * 2


def test_tables_of_another_window_are_resized_with_a_warning():
    state = visionattn.create_backbone("swin_pico", overrides=("mixer@mixers.s1=swin/4",)).state_dict()
    with pytest.warns(UserWarning, match="2 position tables were resized to the model's windows, such as stages.0"):
        visionattn.create_backbone("swin_pico", weights=state, overrides=("mixer@mixers.s1=window",))


def test_without_published_weights_pretrained_is_one_true_sentence():
    with pytest.raises(CheckpointError, match="the official weights are at https://"):
        visionattn.create_backbone("nat_tiny", pretrained=True)
    with pytest.raises(CheckpointError, match="no weights for this backbone"):
        visionattn.create_backbone("dinat_pico", pretrained=True)


def test_a_run_of_one_mixer_starts_one_of_another(trained, tmp_path, capsys):
    """From the command line."""
    words = ["train", *TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=1", f"weights={trained}"]
    assert main([*words, f"hydra.run.dir={tmp_path}/run"]) == 0
    assert f"DIFFERENT: {SAID}" in capsys.readouterr().out
