"""Weights of a run of ours in a model that computes something else with them, which names and shapes do not tell."""

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

from tests.recorded import FOLDER
from visionattn import config
from visionattn.config.differing import values_differing
from visionattn.config.stored import parse_config
from visionattn.errors import CheckpointError
from visionattn.runs.pretrained import load_pretrained
from visionattn.runs.trained_otherwise import differences_from_training
from visionattn.weights import open_source

DETECTOR = FOLDER / "before_redesign" / "detection.ckpt"
NAMES = ["arrow", "circle", "crescent", "cross", "heart", "hexagon", "ring", "square", "star", "triangle"]


def task_of(path, **changes):
    """A fresh task of a run's configuration, with other values of some keys."""
    cfg = parse_config(torch.load(path, weights_only=True)["config"], path)
    for key, value in changes.items():
        for place in (key, f"task.{key}") if key.startswith(("head.", "backbone.")) else (key,):
            OmegaConf.update(cfg, place, value, force_add=True)
    task = config.instantiate(cfg.task)
    task.config_text = OmegaConf.to_yaml(cfg, resolve=True)
    return task


@pytest.mark.parametrize("part", ["backbone", "model"])
def test_the_same_configuration_has_no_difference(part):
    """The recorded run is older than some keys, whose defaults it was trained with."""
    same = {"head.convention": "torchvision", "head.pyramid.skip": 0, "head.regions.per_image": 7}
    assert load_pretrained(task_of(DETECTOR, **same), str(DETECTOR), part, lambda: NAMES).different == []


def test_boxes_of_another_convention_are_refused():
    other = {"head.convention": "openmmlab"}
    with pytest.raises(
        CheckpointError, match=r"of a run, .+ than head\.convention=openmmlab: give head\.convention=torchv"
    ):
        load_pretrained(task_of(DETECTOR, **other), str(DETECTOR), "model")
    assert load_pretrained(task_of(DETECTOR, **other), str(DETECTOR), "backbone").different == []


def test_what_the_head_and_the_images_are_is_told():
    changes = {"head.proposals.anchor_scale": 8, "head.pyramid.finer": 0, "data.mean": [0.4, 0.5, 0.6]}
    changes |= {"backbone.mixers.s2.dilation": 1, "backbone.mixers.s3.bias": True}
    told = load_pretrained(task_of(DETECTOR, **changes), str(DETECTOR), "model", lambda: NAMES).different
    mixer, mean = "stage s2: dilation was [1, 2] in the training, the model has 1", "data.mean was [0.5, 0.5, 0.5]"
    assert told == [
        mixer,
        "head.proposals.anchor_scale was 3 in the training, the model has 8",
        f"{mean} in the training, the model has [0.4, 0.5, 0.6]",
    ]
    told = load_pretrained(task_of(DETECTOR, **changes), str(DETECTOR), "backbone").different
    assert [line.split(" ")[0] for line in told] == ["stage", "data.mean"]


def test_classes_in_another_order_are_told():
    swapped = ["circle", "arrow", *NAMES[2:]]
    told = load_pretrained(task_of(DETECTOR), str(DETECTOR), "model", lambda: swapped).different
    assert told == [
        "2 classes of the head stood for others in the training: 0 was arrow, is circle, 1 was circle, is arrow"
    ]
    numbered = [str(i) for i in range(10)]
    assert load_pretrained(task_of(DETECTOR), str(DETECTOR), "model", lambda: numbered).different == []


def test_the_images_of_published_weights():
    """Weights of timm say with which mean and deviation they were trained."""
    source = replace(open_source(DETECTOR), config=None, facts={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    text = "{task: {}, data: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}"
    told = ["data.std was [0.5, 0.5, 0.5] in the training, the model has [0.25, 0.25, 0.25]"]
    assert differences_from_training(source, text, whole=False) == told


def test_a_key_that_one_alone_says_stands_for_the_default_of_the_other():
    window = {"_target_": "visionattn.attention.WindowAttention", "window_size": 7}
    assert values_differing(window, window | {"shift": True, "backend": "tiled"}) == []
    told = "shift was True in the training, the model has False"
    assert values_differing(window, window | {"shift": False}) == [told]
    unknown = {"_target_": "elsewhere.Mixer", "window_size": 7}
    assert values_differing(unknown, unknown | {"shift": False}) == []
