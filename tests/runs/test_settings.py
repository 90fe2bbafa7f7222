"""Where the values of a training come from, and a rate that is far from the recipe's."""

import pytest

from visionattn.config import compose
from visionattn.runs.infer import Inference, Inferred
from visionattn.runs.settings import Composition, far_rate, settings
from visionattn.runs.settings_block import TITLE, block


def made_of(*words, folders=()):
    cfg = compose("train", [*words, "++data.root=x"], folders, return_hydra_config=True)
    return cfg, Composition(dict(cfg.hydra.runtime.choices), [*words, "++data.root=x"], folders)


def origins(cfg, made, *inferred):
    found = settings(cfg, Inference(list(inferred)), made)
    return {one.key: one.origin for one in found}, block(found, cfg.recipe_name)


def test_every_value_says_where_it_comes_from():
    cfg, made = made_of("data=coco", "head=fcos", "optim.weight_decay=0.1", "task.lr_base_scale=linear")
    known, lines = origins(cfg, made, Inferred("data.batch_size", 4, "half the memory of this machine"))
    assert known["task"] == known["data.batch_size"] == "inferred"
    assert known["data"] == known["head"] == known["optim.weight_decay"] == known["task.lr_base_scale"] == "yours"
    assert known["optim.lr"] == known["optim, schedule, callbacks"] == "recipe detection"
    assert known["trainer.max_epochs"] == "recipe detection"
    assert "trainer" not in known  # a default that says nothing
    assert lines[0] == "recipe detection"
    assert max(map(len, lines)) <= 80
    titles = [line.strip() for line in lines if line.startswith("  ") and line[2] != " "]
    assert titles == ["yours", "inferred", "recipe detection", "default"]


def test_the_block_of_a_plain_command_is_short():
    cfg, made = made_of("data=coco")
    keys = ("data.num_classes", "data.num_workers", "trainer.precision", "head.masks", "data.train_transform.crop")
    keys += ("data.train_transform.short_edges", "data.train_transform.long_edge", "data.eval_transform.short_edge")
    _, lines = origins(cfg, made, *(Inferred(key, 1, "as for COCO") for key in keys))
    assert len(lines) <= 25


def test_what_is_trained_comes_first_in_lines_of_a_terminal():
    cfg, made = made_of("data=coco")
    found = settings(cfg, Inference([Inferred("data.source.images", None, "")]), made)
    lines = block(found, cfg.recipe_name, {"task": "detection", "weights": "none, " + "because " * 30})
    assert lines[:2] == [TITLE, "  task:            detection"]
    assert max(map(len, lines)) <= 80
    assert any("{train: auto, val: auto}" in line for line in lines)


def test_what_was_chosen_for_a_folder_is_not_yours():
    cfg, made = made_of("data=coco", "backbone=swin_pico")
    made = Composition(made.choices, made.typed, made.folders, {"data": "boxes", "backbone": "small"})
    found = {one.key: one for one in settings(cfg, Inference(), made)}
    assert (found["data"].origin, found["backbone"].origin, found["backbone"].note) == ("inferred", "inferred", "small")
    assert found["data.root"].origin == "yours"


def test_the_values_of_a_chosen_file_are_not_yours():
    cfg, made = made_of("data=ade20k", "optim=sgd")
    known, _ = origins(cfg, made)
    assert (known["data.num_classes"], known["optim.lr"], known["optim"]) == ("default", "default", "yours")


def test_an_experiment_is_named(tmp_path):
    cfg, made = made_of("experiment=coco/mask_rcnn_swin_tiny_1x", "trainer.max_epochs=3")
    known, lines = origins(cfg, made)
    assert known["optim.lr"] == known["backbone"] == "experiment coco/mask_rcnn_swin_tiny_1x"
    assert known["trainer.max_epochs"] == "yours"
    assert lines[0] == "no recipe: the experiment states its values"


@pytest.mark.parametrize(
    ("words", "batch", "says"),
    [
        (["data=coco"], 2, ""),
        (
            ["data=coco", "optim.lr=2e-3"],
            16,
            "0.002 is 20 times that of recipe detection for 16 images per step, 0.0001",
        ),
        (["data=coco", "optim.lr=1e-5"], 16, "1e-05 is 1/10 of that of recipe detection"),
        (["data=coco", "task.lr_base_size=null"], 1, ""),
        (["data=image_folder", "task.lr_base_size=null"], 8, "11.3 times that of recipe classification"),
        (["data=coco", "optim=sgd"], 2, ""),
        (["experiment=coco/mask_rcnn_swin_tiny_1x"], 1, ""),
        (["experiment=coco/mask_rcnn_swin_tiny_1x", "optim.lr=2e-3"], 16, "20 times that of recipe detection"),
        ([], 64, ""),
    ],
)
def test_a_rate_far_from_the_recipes_is_told(words, batch, says):
    cfg, made = made_of(*words)
    told = far_rate(cfg, batch, made)
    assert says in told
    assert bool(says) == bool(told)
