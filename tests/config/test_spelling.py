"""Other spellings work or are answered: a mixer for all stages, and the words of timm, mmdetection and Ultralytics."""

import pytest

from visionattn.cli import main
from visionattn.config import compose
from visionattn.errors import ConfigError


def mixers(*overrides, **options):
    mixers = compose("train", ["run_dir=x", *overrides], **options).backbone.mixers
    return [mixers[stage]._target_.rpartition(".")[2] for stage in sorted(mixers)]


def test_one_mixer_for_every_stage():
    assert mixers("mixer=window") == ["WindowAttention"] * 3
    assert mixers("backbone=swin_tiny", "mixer=dinat/3") == ["NeighborhoodAttention"] * 4
    assert mixers("mixer=window", "mixer@backbone.mixers.s2=pooling")[1] == "Pooling"
    assert mixers("mixer@backbone.mixers.s2=pooling", "mixer=window")[1] == "Pooling"
    assert mixers("mixer=window", "backbone.mixers.s1=pooling") == ["Pooling", "WindowAttention", "WindowAttention"]
    assert mixers("mixer=window", "backbone.mixers.s1.window_size=4") == ["WindowAttention"] * 3
    assert mixers("experiment=imagenet/swin_tiny", "data.root=x", "mixer=pooling") == ["Pooling"] * 4


def test_the_mixer_of_a_stage_by_its_key():
    assert mixers("backbone.mixers.s3=window") == ["NeighborhoodAttention", "NeighborhoodAttention", "WindowAttention"]
    with pytest.raises(ConfigError, match=r"unknown mixer windw; did you mean window\?"):
        mixers("backbone.mixers.s3=windw")
    with pytest.raises(ConfigError, match="unknown mixer attention"):
        mixers("mixer=attention")
    with pytest.raises(ConfigError, match=r"backbone\.mixers\.s9"):
        mixers("backbone.mixers.s9=window")


def test_in_a_sweep_one_choice_is_one_job(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "--dry-run", "mixer=window,pooling", "trainer.accelerator=cpu"]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 jobs finished" in printed
    assert printed.count("dry run: everything can be built") == 2
    assert main(["train", "-m", "--dry-run", "mixer=window,windw"]) == 2
    assert "in the job mixer=windw: unknown mixer windw" in capsys.readouterr().err


WORDS = {
    "epochs=5": "trainer.max_epochs=5",
    "max_epochs=5": "trainer.max_epochs=5",
    "imgsz=64": "data.image_size=64",
    "img_size=64": "data.image_size=64",
    "batch=8": "data.batch_size=8",
    "samples_per_gpu=2": "data.batch_size=2",
    "lr=0.1": "optim.lr=0.1",
    "lr0=0.1": "optim.lr=0.1",
    "optim.learning_rate=0.1": "optim.lr=0.1",
    "weight_decay=0.1": "optim.weight_decay=0.1",
    "optimizer=muon": "optim=muon",
    "arch=swin_tiny": "backbone=swin_tiny",
    "model=swin_tiny": "backbone=swin_tiny",
    "pretrained=true": "weights=timm",
    "pretrained=a.pth": "weights=a.pth",
    "workers=2": "data.num_workers=2",
    "device=cpu": "trainer.accelerator=cpu",
    "amp=true": "trainer.precision=bf16-mixed",
    "work_dir=x": "hydra.run.dir=x",
    "load_from=x": "weights=x",
    "resume_from=x": "resume=x",
    "drop_path=0.1": "backbone.drop_path_rate=0.1",
    "dataset=coco": "data=coco",
    "scheduler=cosine": "schedule=cosine",
}


@pytest.mark.parametrize(("typed", "meant"), WORDS.items(), ids=list(WORDS))
def test_words_of_other_tools(typed, meant):
    with pytest.raises(ConfigError) as caught:
        compose("train", [typed])
    assert str(caught.value) == f"unknown key {typed.partition('=')[0]}; did you mean {meant}?"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trainer.val_check_interval=0.5", "lightning.Trainer has an argument val_check_interval, +trainer.val_check_"),
        ("optim.amsgrad=true", "+optim.amsgrad=true passes it (optim is optim adamw; its keys: lr"),
        ("optim.opt=lion", "optim.opt names one of timm's optimizers: optim=timm optim.opt=lion"),
        ("optim=lion", "Choices: adamw, muon, sgd, timm; optim=timm optim.opt=lion takes timm's of this name"),
    ],
)
def test_what_another_library_has_is_told_with_what_to_type(typed, told):
    with pytest.raises(ConfigError) as caught:
        compose("train", [typed])
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("logger=null", "logger=null names no file of the group logger: ~logger leaves it out"),
        ("callbacks=none", "Choices: default, no_ema; ~callbacks leaves it out"),
        ("optim=null", "optim=null names no file of the group optim"),
    ],
)
def test_groups_that_are_to_be_empty(typed, told):
    with pytest.raises(ConfigError) as caught:
        compose("train", [typed])
    assert str(caught.value).endswith(told)


def test_words_of_other_tools_follow_the_command():
    with pytest.raises(ConfigError, match=r"did you mean batch_size=8\?"):
        compose("evaluate", ["ckpt=x", "samples_per_gpu=8"])
    with pytest.raises(ConfigError, match=r"did you mean options.score=0.3\?"):
        compose("predict", ["ckpt=x", "source=y", "conf=0.3"])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["train", "--epochs", "5"], "settings are written without dashes: trainer.max_epochs=VALUE"),
        (["train", "--lr=0.1"], "settings are written without dashes: optim.lr=0.1"),
        (["fit"], "did you mean train?"),
        (["val"], "did you mean evaluate?"),
    ],
)
def test_flags_and_commands_of_other_tools(words, answer, capsys):
    assert main(words) == 2
    assert answer in capsys.readouterr().err


def test_a_key_like_no_other_is_answered_with_a_way_to_look():
    with pytest.raises(ConfigError, match="`visionattn keys` lists all"):
        compose("train", ["qqq=1"])
