"""``visionattn.train`` is the command: its words, its mistakes, its refusals; docs/python.md trains with it."""

import shlex

import pytest

import visionattn
from visionattn.api import training
from visionattn.errors import ConfigError


@pytest.fixture
def words(monkeypatch):
    """What is asked of the command line, without running it."""
    asked = []

    def run_alone(request):
        asked.append(request)
        return "folder", {"val/top1": 1.0}

    monkeypatch.setattr(training, "run_alone", run_alone)
    return asked


def test_arguments_are_the_words_of_the_command(words):
    run = visionattn.train(
        "swin_pico",
        "coco",
        root="my folder",
        epochs=3,
        weights="timm",
        mixers={"s3": "neighborhood"},
        overrides={"optim.lr": 1e-3, "data.train_transform.short_edges": [64, 96], "task.compile": False},
        head="mask_rcnn",
        dry_run=True,
        allow=["my_package"],
    )
    (request,) = words
    assert request.dry_run
    assert request.allow == ("my_package",)
    assert set(request.overrides) == {
        *("backbone=swin_pico", "data=coco", "head=mask_rcnn", "data.root='my folder'", "trainer.max_epochs=3"),
        *("weights=timm", "backbone.mixers.s3=neighborhood", "optim.lr=0.001", "task.compile=false"),
        "data.train_transform.short_edges=[64,96]",
    }
    assert shlex.split(run.command)[:2] == ["visionattn", "train"]
    assert run.figures == {"val/top1": 1.0}


def test_one_mixer_for_all_stages(words):
    visionattn.train("swin_pico", mixers="neighborhood", overrides=["seed=3"])
    assert words[0].overrides == ["backbone=swin_pico", "mixer=neighborhood", "seed=3"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"backbone": "swin_picco"}, "did you mean swin_pico"),
        ({"overrides": {"optim.rl": 1}}, "optim.rl"),
        ({"overrides": {"trainer.devices": 2}}, r"start it from a terminal: visionattn train trainer\.devices=2"),
        ({"overrides": ["hydra.mode=MULTIRUN"]}, "a sweep needs processes"),
        ({"overrides": "seed=3"}, "a mapping or a list"),
        ({"backbone": "swin_pico", "mixers": {"s3": "windw"}}, "did you mean window"),
        ({"data": "coco", "head": "upernet"}, "head=upernet is for task=segmentation"),
    ],
)
def test_mistakes_are_answered_as_on_the_command_line(arguments, sentence):
    with pytest.raises(ConfigError, match=sentence):
        visionattn.train(**arguments)
